/* EPOLLONESHOT, EPOLLEXCLUSIVE, a hang-up, a registration that a dup keeps alive. */
#include <sys/epoll.h>

#include "probe.h"

static int set, fds[2];

static void setup(void) {
  set = OK(epoll_create1(EPOLL_CLOEXEC));
  OK(pipe(fds));
  struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = 0};
  OK(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event));
}

static void each(unsigned round) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = round};
  int other[2];
  char byte;
  write_all(fds[1], "x", 1);
  OK(epoll_ctl(set, EPOLL_CTL_MOD, fds[0], &event)); /* armed again; was disabled by the last round */
  CHECK_EQ(epoll_wait(set, &event, 1, 100), 1);
  CHECK_EQ(event.data.u32, round);
  CHECK_EQ(epoll_wait(set, &event, 1, 0), 0);
  read_all(fds[0], &byte, 1);
  OK(pipe(other));
  struct epoll_event hangup = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = 99};
  OK(epoll_ctl(set, EPOLL_CTL_ADD, other[0], &hangup));
  FAILS(epoll_ctl(set, EPOLL_CTL_MOD, other[0], &hangup), EINVAL);
  OK(close(other[1]));
  CHECK_EQ(epoll_wait(set, &event, 1, 100), 1);
  CHECK_EQ(event.events, EPOLLHUP);
  int copy = OK(dup(other[0]));
  OK(close(other[0])); /* the description is still open, and the number is not registered any more */
  CHECK_EQ(epoll_wait(set, &event, 1, 100), 1);
  CHECK_EQ(event.data.u32, 99);
  OK(close(copy));
  CHECK_EQ(epoll_wait(set, &event, 1, 0), 0);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
