/* A pipe: written, polled, read; some bytes stay unread from one round to the next. */
#include <sys/ioctl.h>

#include "probe.h"

static int fds[2];

static void setup(void) {
  OK(pipe2(fds, O_CLOEXEC));
  write_all(fds[1], "unread 0;", 9);
}

static void each(unsigned round) {
  char text[64], back[64] = "";
  int waiting = 0;
  OK(ioctl(fds[0], FIONREAD, &waiting));
  CHECK_EQ(waiting, 9);
  write_all(fds[1], text, snprintf(text, sizeof text, "unread %u;", round % 10));
  read_all(fds[0], back, 9);
  snprintf(text, sizeof text, "unread %u;", (round - 1) % 10);
  CHECK(strcmp(text, back) == 0);
  int closing[2];
  OK(pipe(closing));
  write_all(closing[1], "last", 4);
  OK(close(closing[1]));
  CHECK_EQ(read(closing[0], back, sizeof back), 4);
  CHECK_EQ(read(closing[0], back, sizeof back), 0);
  OK(close(closing[0]));
  FAILS(lseek(fds[0], 0, SEEK_CUR), ESPIPE);
  mix_text(text);
}

PROBE(.setup = setup, .round = each)
