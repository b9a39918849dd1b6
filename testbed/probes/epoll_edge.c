/* epoll, edge-triggered: only what is new is told, also after a part was read. */
#include <sys/epoll.h>

#include "probe.h"

static int set, fds[2];

static void setup(void) {
  set = OK(epoll_create1(0));
  OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fds[0]};
  OK(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event));
  CHECK_EQ(epoll_wait(set, &event, 1, 100), 1);
  CHECK_EQ(event.events, EPOLLOUT);
}

static void each(unsigned round) {
  struct epoll_event event;
  struct timespec soon = {0, 100000000};
  char back[8] = "";
  if (round == 1) CHECK_EQ(epoll_wait(set, &event, 1, 0), 0);
  write_all(fds[1], "abc", 3); /* in later rounds beside bytes that nobody has read */
  CHECK_EQ(epoll_pwait2(set, &event, 1, &soon, NULL), 1);
  CHECK(event.events & EPOLLIN);
  CHECK_EQ(event.data.fd, fds[0]);
  CHECK_EQ(epoll_wait(set, &event, 1, 0), 0);
  CHECK_EQ(read(fds[0], back, 1), 1);
  CHECK_EQ(epoll_wait(set, &event, 1, 0), 0); /* a rest is no edge */
  write_all(fds[1], "d", 1);
  CHECK_EQ(epoll_pwait(set, &event, 1, 100, NULL), 1);
  while (read(fds[0], back, sizeof back) > 0) mix(back, 1);
  CHECK_EQ(errno, EAGAIN);
  write_all(fds[1], "rest", 4);
  CHECK_EQ(epoll_wait(set, &event, 1, 100), 1);
  mix_number(event.events & EPOLLIN);
}

PROBE(.setup = setup, .round = each)
