/* A refused connection, a reset by SO_LINGER 0, and a reset of data that came too late. */
#include "inet.h"

static void each(unsigned round) {
  char back[8];
  int fds[2], error = 0;
  socklen_t length = sizeof error;
  int listener = tcp_listener(1);
  struct sockaddr_in closed = name_of(listener);
  OK(close(listener));
  int fd = OK(socket(AF_INET, SOCK_STREAM, 0));
  FAILS(connect(fd, (struct sockaddr*)&closed, sizeof closed), ECONNREFUSED);
  OK(close(fd));
  tcp_pair(fds);
  struct linger reset = {1, 0};
  OK(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
  OK(close(fds[0]));
  await(fds[1], POLLIN);
  OK(getsockopt(fds[1], SOL_SOCKET, SO_ERROR, &error, &length));
  CHECK_EQ(error, ECONNRESET);
  OK(close(fds[1]));
  tcp_pair(fds);
  write_all(fds[0], "unread", 6);
  await(fds[1], POLLIN);
  OK(close(fds[1])); /* with unread data: a reset */
  await(fds[0], POLLIN);
  FAILS(read(fds[0], back, sizeof back), ECONNRESET);
  CHECK_EQ(read(fds[0], back, sizeof back), 0);
  OK(close(fds[0]));
  mix_number(round);
}

PROBE(.round = each)
