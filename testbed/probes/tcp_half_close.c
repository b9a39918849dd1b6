/* shutdown of one direction: the other one goes on, over the rounds. */
#include "inet.h"

static int kept[2];

static void setup(void) {
  tcp_pair(kept);
  OK(shutdown(kept[0], SHUT_WR)); /* can only receive from now on */
}

static void each(unsigned round) {
  char back[16] = "";
  int fds[2];
  CHECK_EQ(read(kept[1], back, sizeof back), 0);
  FAILS(send(kept[0], "x", 1, MSG_NOSIGNAL), EPIPE);
  write_all(kept[1], &round, sizeof round);
  read_all(kept[0], back, sizeof round);
  CHECK(memcmp(back, &round, sizeof round) == 0);
  mix(back, sizeof round);
  tcp_pair(fds);
  write_all(fds[0], "request", 7);
  OK(shutdown(fds[0], SHUT_WR));
  read_all(fds[1], back, 7);
  CHECK_EQ(read(fds[1], back + 7, 1), 0);
  write_all(fds[1], "reply", 5);
  OK(close(fds[1]));
  read_all(fds[0], back, 5);
  CHECK_EQ(read(fds[0], back, 1), 0);
  OK(shutdown(kept[1], SHUT_RD));
  OK(close(fds[0]));
}

PROBE(.setup = setup, .round = each)
