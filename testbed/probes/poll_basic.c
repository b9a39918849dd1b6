/* poll: ready, not ready, in time, a closed number, a hang-up, a negative number, many at once. */
#include "probe.h"

enum { kMany = 100 };
static int fds[2];

static int write_later(void* argument) {
  (void)argument;
  sleep_ms(5);
  write_all(fds[1], "late", 4);
  return 0;
}

static void setup(void) { OK(pipe(fds)); }

static void each(unsigned round) {
  struct pollfd set[kMany];
  char back[8] = "";
  for (int i = 0; i < kMany; i++) set[i] = (struct pollfd){.fd = i % 2 ? fds[1] : -5, .events = POLLOUT};
  CHECK_EQ(poll(set, kMany, -1), kMany / 2);
  CHECK_EQ(set[1].revents, POLLOUT);
  CHECK_EQ(set[2].revents, 0);
  set[0] = (struct pollfd){.fd = fds[0], .events = POLLIN};
  set[1] = (struct pollfd){.fd = 999, .events = POLLIN};
  CHECK_EQ(poll(set, 1, 2), 0);
  CHECK_EQ(poll(set, 2, 2), 1);
  CHECK_EQ(set[1].revents, POLLNVAL);
  pid_t pid = start_child(write_later, NULL);
  CHECK_EQ(poll(set, 1, 10000), 1);
  CHECK_EQ(set[0].revents, POLLIN);
  read_all(fds[0], back, 4);
  reap(pid, 0);
  int broken[2];
  OK(pipe(broken));
  OK(close(broken[0]));
  set[0] = (struct pollfd){.fd = broken[1], .events = POLLOUT};
  CHECK_EQ(poll(set, 1, 0), 1);
  CHECK_EQ(set[0].revents, POLLOUT | POLLERR);
  OK(close(broken[1]));
  CHECK_EQ(poll(NULL, 0, 1), 0); /* a way to sleep */
  mix_text(back);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
