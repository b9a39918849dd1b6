/* Connections wait in the backlog of a listener with data already sent; one waits over the rounds. */
#include "inet.h"

enum { kClients = 5 };
static int listener, waiting;

static int client(unsigned number) {
  int fd = tcp_connect(listener);
  write_all(fd, &number, sizeof number);
  return fd;
}

static unsigned next(void) {
  unsigned number;
  int fd = OK(accept(listener, NULL, NULL));
  read_all(fd, &number, sizeof number);
  OK(close(fd));
  return number;
}

static void setup(void) {
  listener = tcp_listener(16);
  waiting = client(1000);
}

static void each(unsigned round) {
  int clients[kClients];
  for (unsigned i = 0; i < kClients; i++) clients[i] = client(round * 100 + i);
  CHECK_EQ(next(), 999 + round);
  OK(close(waiting));
  for (unsigned i = 0; i < kClients; i++) {
    unsigned number = next();
    CHECK_EQ(number, round * 100 + i);
    mix_number(number);
    char byte;
    CHECK_EQ(read(clients[i], &byte, 1), 0);
    OK(close(clients[i]));
  }
  waiting = client(1000 + round);
}

PROBE(.setup = setup, .round = each)
