/* epoll, level-triggered: what is ready is told again until it is read; the set stays. */
#include <sys/epoll.h>

#include "probe.h"

enum { kPipes = 3 };
static int set, pipes[kPipes][2];

static void setup(void) {
  set = OK(epoll_create1(EPOLL_CLOEXEC));
  for (int i = 0; i < kPipes; i++) {
    OK(pipe(pipes[i]));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1234567800000000 + i};
    OK(epoll_ctl(set, EPOLL_CTL_ADD, pipes[i][0], &event));
  }
  write_all(pipes[2][1], "0", 1); /* stays ready from round to round */
}

static void each(unsigned round) {
  struct epoll_event events[kPipes + 1];
  char byte;
  CHECK_EQ(epoll_wait(set, events, kPipes + 1, 0), 1);
  CHECK_EQ(events[0].data.u64, 0x1234567800000002);
  write_all(pipes[0][1], "ab", 2);
  for (int i = 0; i < 3; i++) { /* twice ready, then not any more */
    int n = OK(epoll_wait(set, events, kPipes + 1, 100)), first = 0;
    for (int k = 0; k < n; k++) first += events[k].data.u64 == 0x1234567800000000;
    CHECK_EQ(first, i < 2);
    if (i < 2) read_all(pipes[0][0], &byte, 1);
    mix(&byte, 1);
  }
  CHECK_EQ(epoll_wait(set, events, 1, 0), 1); /* fewer than there might be */
  struct epoll_event changed = {.events = EPOLLIN | EPOLLOUT, .data.u32 = round};
  OK(epoll_ctl(set, EPOLL_CTL_MOD, pipes[1][0], &changed));
  FAILS(epoll_ctl(set, EPOLL_CTL_ADD, pipes[1][0], &changed), EEXIST);
  OK(epoll_ctl(set, EPOLL_CTL_DEL, pipes[1][0], NULL));
  FAILS(epoll_ctl(set, EPOLL_CTL_MOD, pipes[1][0], &changed), ENOENT);
  changed.events = EPOLLIN;
  changed.data.u64 = 0x1234567800000001;
  OK(epoll_ctl(set, EPOLL_CTL_ADD, pipes[1][0], &changed));
  struct epoll_event left = {.events = EPOLLIN};
  int file = OK(open(scratch("file"), O_RDWR | O_CREAT, 0600));
  FAILS(epoll_ctl(set, EPOLL_CTL_ADD, file, &left), EPERM);
  OK(close(file));
  OK(unlink(scratch("file")));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
