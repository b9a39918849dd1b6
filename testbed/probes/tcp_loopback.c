/* TCP over the loopback: listen, connect, accept4; the connection and unread bytes stay. */
#include "inet.h"

static int fds[2];

static void setup(void) {
  tcp_pair(fds);
  write_all(fds[0], "0", 1);
}

static void each(unsigned round) {
  char back[64] = "", digit = '0' + round % 10;
  struct sockaddr_in peer, mine = name_of(fds[1]);
  socklen_t length = sizeof peer;
  OK(getpeername(fds[0], (struct sockaddr*)&peer, &length));
  CHECK(peer.sin_port == mine.sin_port && peer.sin_addr.s_addr == mine.sin_addr.s_addr);
  note(&peer, sizeof peer);
  write_all(fds[1], "to the client", 13);
  read_all(fds[0], back, 13);
  mix_text(back);
  read_all(fds[1], back, 1);
  CHECK_EQ(back[0], '0' + (round - 1) % 10);
  write_all(fds[0], &digit, 1);
  int listener = tcp_listener(5), client = tcp_connect(listener);
  length = sizeof peer;
  int accepted = OK(accept4(listener, (struct sockaddr*)&peer, &length, SOCK_NONBLOCK));
  CHECK_EQ(peer.sin_port, name_of(client).sin_port);
  FAILS(read(accepted, back, 1), EAGAIN);
  OK(close(client));
  await(accepted, POLLIN);
  CHECK_EQ(read(accepted, back, 1), 0);
  OK(close(accepted));
  OK(close(listener));
}

PROBE(.setup = setup, .round = each)
