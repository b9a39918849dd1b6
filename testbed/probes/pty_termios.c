/* A pseudo terminal: line editing, raw mode, echo, window size, names, a hang-up; it stays open. */
#include <sys/ioctl.h>
#include <termios.h>

#include "probe.h"

static int master, slave;

static void setup(void) {
  master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master == -1) skip("no pseudo terminals");
  OK(grantpt(master));
  OK(unlockpt(master));
  char name[64];
  ZERO(ptsname_r(master, name, sizeof name));
  note(name, strlen(name));
  slave = OK(open(name, O_RDWR | O_NOCTTY));
  CHECK(isatty(slave));
}

static void each(unsigned round) {
  struct termios original, raw;
  struct winsize size = {.ws_row = (unsigned short)(20 + round), .ws_col = 80}, seen;
  char line[64] = "", echo[64] = "";
  int waiting = 0;
  OK(tcgetattr(slave, &original));
  write_all(master, "abX\177c\n", 6); /* X is erased */
  CHECK_EQ(read(slave, line, sizeof line), 4);
  CHECK(strcmp(line, "abc\n") == 0);
  ssize_t n = OK(read(master, echo, sizeof echo));
  mix(echo, n);
  raw = original;
  cfmakeraw(&raw);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  OK(tcsetattr(slave, TCSANOW, &raw));
  write_all(master, "a\003\n", 3);
  struct pollfd in = {.fd = slave, .events = POLLIN};
  CHECK_EQ(poll(&in, 1, 1000), 1);
  OK(ioctl(slave, FIONREAD, &waiting));
  CHECK_EQ(waiting, 3);
  CHECK_EQ(read(slave, line, sizeof line), 3);
  CHECK_EQ(line[1], 3);
  OK(ioctl(master, TIOCSWINSZ, &size));
  OK(ioctl(slave, TIOCGWINSZ, &seen));
  CHECK_EQ(seen.ws_row, 20 + round);
  OK(cfsetspeed(&raw, B9600));
  OK(tcsetattr(slave, TCSADRAIN, &raw));
  OK(tcflush(slave, TCIOFLUSH));
  OK(tcgetattr(slave, &raw));
  CHECK_EQ(cfgetospeed(&raw), B9600);
  OK(tcsetattr(slave, TCSANOW, &original));
  mix(line, 3);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
