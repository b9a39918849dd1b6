/* recvmmsg of twenty datagrams of 60 KB, more than a megabyte in one call, on a unix socket and on UDP. */
#include "inet.h"

enum { kMessages = 20, kLength = 60000 };
static char out[kLength], in[kMessages][kLength];

static void exchange(int from, int to, int count, unsigned seed) {
  struct mmsghdr messages[kMessages] = {0};
  struct iovec vectors[kMessages];
  for (int i = 0; i < kMessages; i++) {
    vectors[i] = (struct iovec){in[i], kLength};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  for (int i = 0; i < count; i++) {
    fill(out, kLength, seed + i);
    CHECK_EQ(send(from, out, kLength, 0), kLength);
  }
  CHECK_EQ(recvmmsg(to, messages, kMessages, MSG_DONTWAIT, NULL), count);
  for (int i = 0; i < count; i++) {
    fill(out, kLength, seed + i);
    CHECK_EQ(messages[i].msg_len, kLength);
    CHECK(memcmp(in[i], out, kLength) == 0);
  }
  mix(in[count - 1], kLength);
}

static int send_one(void* fd) {
  fill(out, kLength, 77);
  CHECK_EQ(send((int)(long)fd, out, kLength, 0), kLength);
  return 0;
}

static void each(unsigned round) {
  int fds[2], buffer = 8 << 20;
  OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds));
  (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
  if (setsockopt(fds[1], SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) == -1)
    skip("socket buffers cannot be made large");
  exchange(fds[0], fds[1], 10, round * 100); /* as many as wait without blocking */
  pid_t pid = start_child(send_one, (void*)(long)fds[0]);
  CHECK_EQ(recv(fds[1], in[0], kLength, 0), kLength);
  reap(pid, 0);
  OK(close(fds[0]));
  OK(close(fds[1]));
  int a = bound_socket(SOCK_DGRAM), b = bound_socket(SOCK_DGRAM);
  struct sockaddr_in address = name_of(b);
  OK(setsockopt(b, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer));
  OK(connect(a, (struct sockaddr*)&address, sizeof address));
  exchange(a, b, kMessages, round * 1000);
  OK(close(a));
  OK(close(b));
}

PROBE(.round = each)
