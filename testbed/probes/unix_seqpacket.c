/* Unix SOCK_SEQPACKET: connections with message borders, MSG_EOR and MSG_TRUNC. */
#include "probe.h"

static int fds[2];

static void setup(void) {
  OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
  CHECK_EQ(send(fds[0], "unread", 6, 0), 6);
}

static void each(unsigned round) {
  char text[64], back[64] = "";
  int n = snprintf(text, sizeof text, "packet %u", round);
  CHECK_EQ(send(fds[0], text, n, 0), n);
  CHECK_EQ(recv(fds[1], back, sizeof back, 0), round == 1 ? 6 : (long)strlen(back));
  mix_text(back);
  struct iovec vector = {back, 4};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  memset(back, 0, sizeof back);
  CHECK_EQ(recvmsg(fds[1], &message, 0), 4);
  CHECK_EQ(message.msg_flags & MSG_TRUNC, MSG_TRUNC);
  CHECK(memcmp(back, "pack", 4) == 0);
  FAILS(recv(fds[1], back, 1, MSG_DONTWAIT), EAGAIN);
  CHECK_EQ(send(fds[0], "unread", 6, 0), 6);
}

PROBE(.setup = setup, .round = each)
