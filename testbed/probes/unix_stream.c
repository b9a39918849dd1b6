/* A pair of connected unix stream sockets, with bytes that stay unread, and shutdown of one direction. */
#include <sys/ioctl.h>

#include "probe.h"

static int fds[2];

static void setup(void) {
  OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
  write_all(fds[0], "unread", 6);
}

static void each(unsigned round) {
  char text[32], back[64] = "";
  int waiting = 0, length = snprintf(text, sizeof text, "message %u", round);
  write_all(fds[1], text, length);
  CHECK_EQ(recv(fds[0], back, sizeof back, MSG_PEEK), length);
  CHECK_EQ(recv(fds[0], back, sizeof back, 0), length);
  CHECK(strcmp(text, back) == 0);
  FAILS(recv(fds[0], back, sizeof back, MSG_DONTWAIT), EAGAIN);
  OK(ioctl(fds[1], FIONREAD, &waiting));
  CHECK_EQ(waiting, 6);
  write_all(fds[0], "unread", 6);
  read_all(fds[1], back, 6);
  int closing[2];
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, closing));
  write_all(closing[0], "end", 3);
  OK(shutdown(closing[0], SHUT_WR));
  CHECK_EQ(recv(closing[1], back, sizeof back, MSG_WAITALL), 3);
  CHECK_EQ(recv(closing[1], back, sizeof back, 0), 0);
  write_all(closing[1], "back", 4);
  read_all(closing[0], back, 4);
  OK(close(closing[0]));
  OK(close(closing[1]));
  mix_text(text);
}

PROBE(.setup = setup, .round = each)
