/* Loopback sockets for the probes that need some: addresses, a listener, a connected pair. Ports are
 * the kernel's choice and never printed. */
#ifndef TESTBED_PROBES_INET_H_
#define TESTBED_PROBES_INET_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "probe.h"

static inline struct sockaddr_in loopback(unsigned port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static inline struct sockaddr_in name_of(int fd) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  OK(getsockname(fd, (struct sockaddr*)&address, &length));
  CHECK_EQ(length, sizeof address);
  return address;
}

/* A socket of this type, bound to a free port of the loopback. */
static inline int bound_socket(int type) {
  struct sockaddr_in address = loopback(0);
  int fd = OK(socket(AF_INET, type, 0));
  OK(bind(fd, (struct sockaddr*)&address, sizeof address));
  return fd;
}

static inline int tcp_listener(int backlog) {
  int fd = bound_socket(SOCK_STREAM | SOCK_CLOEXEC);
  OK(listen(fd, backlog));
  return fd;
}

static inline int tcp_connect(int listener) {
  struct sockaddr_in address = name_of(listener);
  int fd = OK(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  OK(connect(fd, (struct sockaddr*)&address, sizeof address));
  return fd;
}

/* fds[0] has connected, fds[1] was accepted. */
static inline void tcp_pair(int fds[2]) {
  int listener = tcp_listener(1);
  fds[0] = tcp_connect(listener);
  fds[1] = OK(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
  OK(close(listener));
}

/* Until `events` can be had, at most as long as the probe may take. */
static inline void await(int fd, short events) {
  struct pollfd p = {.fd = fd, .events = events};
  int n;
  while ((n = poll(&p, 1, -1)) == -1 && errno == EINTR) {
  }
  CHECK_EQ(n, 1);
}

#endif /* TESTBED_PROBES_INET_H_ */
