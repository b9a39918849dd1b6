/* Non-blocking connect and accept, SO_ERROR, a full send buffer. */
#include "inet.h"

static int listener;

static void setup(void) {
  listener = tcp_listener(5);
  OK(fcntl(listener, F_SETFL, O_NONBLOCK));
}

static void each(unsigned round) {
  struct sockaddr_in address = name_of(listener);
  int error = -1;
  socklen_t length = sizeof error;
  FAILS(accept(listener, NULL, NULL), EAGAIN);
  int client = OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  if (connect(client, (struct sockaddr*)&address, sizeof address) == -1)
    CHECK_EQ(errno, EINPROGRESS);
  await(client, POLLOUT);
  OK(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &length));
  CHECK_EQ(error, 0);
  int again = connect(client, (struct sockaddr*)&address, sizeof address);
  if (again == 0) again = connect(client, (struct sockaddr*)&address, sizeof address); /* 0 once */
  CHECK(again == -1 && errno == EISCONN);
  await(listener, POLLIN);
  int server = OK(accept(listener, NULL, NULL));
  static char block[65536];
  size_t sent = 0, received = 0;
  ssize_t n;
  fill(block, sizeof block, round);
  while ((n = write(client, block, sizeof block)) > 0) sent += n;
  CHECK_EQ(errno, EAGAIN);
  CHECK(sent > 0);
  OK(shutdown(client, SHUT_WR));
  while ((n = OK(read(server, block, sizeof block))) > 0) received += n;
  CHECK_EQ(received, sent);
  note_number(sent);
  OK(close(client));
  OK(close(server));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
