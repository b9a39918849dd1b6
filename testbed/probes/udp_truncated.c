/* Datagrams that are longer than the buffer, empty, and as large as can be; MSG_TRUNC and MSG_PEEK. */
#include "inet.h"

static int fd;
static char large[65507], back[65507];

static void setup(void) {
  fd = bound_socket(SOCK_DGRAM);
  struct sockaddr_in self = name_of(fd);
  OK(connect(fd, (struct sockaddr*)&self, sizeof self)); /* with itself */
}

static void each(unsigned round) {
  fill(large, sizeof large, round);
  CHECK_EQ(send(fd, large, sizeof large, 0), sizeof large);
  CHECK_EQ(recv(fd, back, 100, MSG_PEEK), 100);
  CHECK_EQ(recv(fd, back, 100, MSG_PEEK | MSG_TRUNC), sizeof large);
  CHECK_EQ(recv(fd, back, sizeof back, 0), sizeof back);
  CHECK(memcmp(back, large, sizeof large) == 0);
  CHECK_EQ(send(fd, large, 500, 0), 500);
  CHECK_EQ(recv(fd, back, 10, MSG_TRUNC), 500);
  FAILS(recv(fd, back, 10, MSG_DONTWAIT), EAGAIN);
  CHECK_EQ(send(fd, "", 0, 0), 0);
  CHECK_EQ(recv(fd, back, 10, 0), 0);
  FAILS(send(fd, large, sizeof large + 1, 0), EMSGSIZE);
  mix(back, 100);
}

PROBE(.setup = setup, .round = each)
