/* MSG_PEEK, MSG_WAITALL, MSG_TRUNC, SO_PEEK_OFF's absence, SO_RCVLOWAT: ways to read a stream. */
#include "inet.h"

static int fds[2];

static void setup(void) { tcp_pair(fds); }

static int send_late(void* argument) {
  (void)argument;
  write_all(fds[0], "first", 5);
  sleep_ms(3);
  write_all(fds[0], "second", 6);
  return 0;
}

static void each(unsigned round) {
  char back[64] = "";
  pid_t pid = start_child(send_late, NULL);
  CHECK_EQ(recv(fds[1], back, 11, MSG_WAITALL), 11);
  CHECK(strcmp(back, "firstsecond") == 0);
  reap(pid, 0);
  write_all(fds[0], "0123456789", 10);
  await(fds[1], POLLIN);
  memset(back, 0, sizeof back);
  CHECK_EQ(recv(fds[1], back, 10, MSG_PEEK | MSG_WAITALL), 10);
  CHECK_EQ(recv(fds[1], back, 3, MSG_PEEK), 3);
  CHECK_EQ(recv(fds[1], NULL, 4, MSG_TRUNC), 4); /* thrown away */
  CHECK_EQ(recv(fds[1], back, sizeof back, 0), 6);
  CHECK(memcmp(back, "456789", 6) == 0);
  int low = 5, again = 0;
  socklen_t length = sizeof again;
  OK(setsockopt(fds[1], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
  OK(getsockopt(fds[1], SOL_SOCKET, SO_RCVLOWAT, &again, &length));
  CHECK_EQ(again, 5);
  write_all(fds[0], "low", 3);
  struct pollfd p = {.fd = fds[1], .events = POLLIN};
  CHECK_EQ(poll(&p, 1, 2), 0);
  write_all(fds[0], "er", 2);
  await(fds[1], POLLIN);
  read_all(fds[1], back, 5);
  low = 1;
  OK(setsockopt(fds[1], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
  mix(back, 5);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
