/* UDP: sendto, recvfrom with the sender's address; a datagram stays unread. */
#include "inet.h"

static int a, b;

static void setup(void) {
  a = bound_socket(SOCK_DGRAM);
  b = bound_socket(SOCK_DGRAM);
}

static void each(unsigned round) {
  struct sockaddr_in to = name_of(b), from;
  socklen_t length = sizeof from;
  unsigned number = 0;
  if (round > 1) {
    CHECK_EQ(recv(b, &number, sizeof number, 0), sizeof number);
    CHECK_EQ(number, round - 1);
  }
  CHECK_EQ(sendto(a, "datagram", 8, 0, (struct sockaddr*)&to, sizeof to), 8);
  char back[16] = "";
  CHECK_EQ(recvfrom(b, back, sizeof back, 0, (struct sockaddr*)&from, &length), 8);
  CHECK_EQ(from.sin_port, name_of(a).sin_port);
  CHECK_EQ(length, sizeof from);
  FAILS(recv(b, back, 1, MSG_DONTWAIT), EAGAIN);
  CHECK_EQ(sendto(a, &round, sizeof round, 0, (struct sockaddr*)&to, sizeof to), sizeof round);
  mix_text(back);
  mix_number(number);
}

PROBE(.setup = setup, .round = each)
