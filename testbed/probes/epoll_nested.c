/* An epoll set in an epoll set, which poll watches; loops are refused. */
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "probe.h"

static int outer, inner, counter;

static void add(int set, int fd, uint64_t data) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
  OK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
}

static void setup(void) {
  outer = OK(epoll_create(1));
  inner = OK(epoll_create1(0));
  counter = OK(eventfd(0, 0));
  add(outer, inner, 1);
  add(inner, counter, 2);
}

static void each(unsigned round) {
  struct epoll_event event = {.events = EPOLLIN};
  struct pollfd watched = {.fd = outer, .events = POLLIN};
  CHECK_EQ(poll(&watched, 1, 0), 0);
  OK(eventfd_write(counter, round));
  CHECK_EQ(poll(&watched, 1, 100), 1);
  CHECK_EQ(epoll_wait(outer, &event, 1, 100), 1);
  CHECK_EQ(event.data.u64, 1);
  CHECK_EQ(epoll_wait(inner, &event, 1, 100), 1);
  CHECK_EQ(event.data.u64, 2);
  eventfd_t value;
  OK(eventfd_read(counter, &value));
  CHECK_EQ(value, round);
  CHECK_EQ(epoll_wait(outer, &event, 1, 0), 0);
  FAILS(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &event), ELOOP);
  FAILS(epoll_ctl(inner, EPOLL_CTL_ADD, inner, &event), EINVAL);
  mix_number(value);
}

PROBE(.setup = setup, .round = each)
