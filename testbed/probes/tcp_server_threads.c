/* A server thread with epoll and three client threads with a connection each, all of which stay. */
#include <sys/epoll.h>

#include "inet.h"

enum { kClients = 3, kRequests = 20 };
static int listener, clients[kClients];
static pthread_t server;
static pthread_barrier_t barrier;

static void* serve(void* argument) {
  (void)argument;
  int epoll = OK(epoll_create1(0)), open_connections = kClients;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[4];
  OK(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event));
  while (open_connections > 0) {
    int n = OK(epoll_wait(epoll, events, 4, -1));
    for (int i = 0; i < n; i++) {
      unsigned number;
      int fd = events[i].data.fd;
      if (fd == listener) {
        event.data.fd = OK(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        OK(epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event));
        continue;
      }
      ssize_t got = OK(recv(fd, &number, sizeof number, MSG_WAITALL));
      if (got == 0) {
        open_connections--;
        OK(close(fd));
        continue;
      }
      number = number * 3 + 1;
      write_all(fd, &number, sizeof number);
    }
  }
  OK(close(epoll));
  return NULL;
}

static void* ask(void* index) {
  int fd = clients[(long)index];
  unsigned long sum = 0;
  pthread_barrier_wait(&barrier);
  for (unsigned i = 0; i < kRequests; i++) {
    unsigned number = (long)index * 100 + i, answer;
    write_all(fd, &number, sizeof number);
    read_all(fd, &answer, sizeof answer);
    CHECK_EQ(answer, number * 3 + 1);
    sum += answer;
  }
  return (void*)sum;
}

static void setup(void) {
  listener = tcp_listener(kClients);
  ZERO(pthread_create(&server, NULL, serve, NULL));
  for (int i = 0; i < kClients; i++) clients[i] = tcp_connect(listener);
  ZERO(pthread_barrier_init(&barrier, NULL, kClients));
}

static void each(unsigned round) {
  pthread_t threads[kClients];
  void* sum;
  for (long i = 0; i < kClients; i++) ZERO(pthread_create(&threads[i], NULL, ask, (void*)i));
  for (int i = 0; i < kClients; i++) {
    ZERO(pthread_join(threads[i], &sum));
    mix_number((unsigned long)sum + round);
  }
}

static void finish(void) {
  for (int i = 0; i < kClients; i++) OK(close(clients[i]));
  ZERO(pthread_join(server, NULL));
}

PROBE(.setup = setup, .round = each, .finish = finish)
