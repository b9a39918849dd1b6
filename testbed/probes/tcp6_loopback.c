/* TCP and UDP over ::1; the connection stays. */
#include "inet.h"

static int client, server;

static void setup(void) {
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET6, SOCK_STREAM, 0);
  if (listener == -1 || bind(listener, (struct sockaddr*)&address, sizeof address) == -1)
    skip("no IPv6 on the loopback");
  OK(listen(listener, 1));
  OK(getsockname(listener, (struct sockaddr*)&address, &length));
  client = OK(socket(AF_INET6, SOCK_STREAM, 0));
  OK(connect(client, (struct sockaddr*)&address, sizeof address));
  server = OK(accept(listener, (struct sockaddr*)&address, &length));
  CHECK_EQ(address.sin6_family, AF_INET6);
  OK(close(listener));
}

static void each(unsigned round) {
  char back[16] = "";
  struct sockaddr_in6 peer;
  socklen_t length = sizeof peer;
  write_all(client, &round, sizeof round);
  read_all(server, back, sizeof round);
  OK(getpeername(client, (struct sockaddr*)&peer, &length));
  CHECK(IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr));
  CHECK_EQ(length, sizeof peer);
  mix(back, sizeof round);
}

PROBE(.setup = setup, .round = each)
