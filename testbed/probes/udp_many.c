/* sendmmsg and recvmmsg: several datagrams of different size with one call. */
#include "inet.h"

enum { kMessages = 8 };
static int a, b;

static void setup(void) {
  a = bound_socket(SOCK_DGRAM);
  b = bound_socket(SOCK_DGRAM);
  struct sockaddr_in address = name_of(b);
  OK(connect(a, (struct sockaddr*)&address, sizeof address));
}

static void each(unsigned round) {
  char out[kMessages][300], in[kMessages + 2][300];
  struct mmsghdr messages[kMessages + 2] = {0};
  struct iovec vectors[kMessages + 2];
  struct sockaddr_in names[kMessages + 2];
  for (unsigned i = 0; i < kMessages; i++) {
    fill(out[i], sizeof out[i], round * 10 + i);
    vectors[i] = (struct iovec){out[i], i * 30};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  CHECK_EQ(sendmmsg(a, messages, kMessages, 0), kMessages);
  CHECK_EQ(messages[3].msg_len, 90);
  for (unsigned i = 0; i < kMessages + 2; i++) {
    vectors[i] = (struct iovec){in[i], 200};
    messages[i].msg_hdr = (struct msghdr){&names[i], sizeof names[i], &vectors[i], 1, NULL, 0, 0};
  }
  struct timespec limit = {1, 0};
  CHECK_EQ(recvmmsg(b, messages, kMessages + 2, MSG_DONTWAIT, &limit), kMessages);
  for (unsigned i = 0; i < kMessages; i++) {
    unsigned expected = i * 30 < 200 ? i * 30 : 200;
    CHECK_EQ(messages[i].msg_len, expected);
    CHECK_EQ(messages[i].msg_hdr.msg_flags & MSG_TRUNC, i * 30 > 200 ? MSG_TRUNC : 0);
    CHECK_EQ(names[i].sin_port, name_of(a).sin_port);
    CHECK(memcmp(in[i], out[i], expected) == 0);
    mix(in[i], expected);
  }
}

PROBE(.setup = setup, .round = each)
