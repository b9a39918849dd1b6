/* 16 MB through one loopback connection between two processes, in writes of 1 MB. */
#include "inet.h"

enum { kBlock = 1 << 20, kBlocks = 16 };

static int send_blocks(void* fd) {
  char* block = malloc(kBlock);
  for (int i = 0; i < kBlocks; i++) {
    fill(block, kBlock, i);
    write_all(*(int*)fd, block, kBlock);
  }
  return 16;
}

static void each(unsigned round) {
  static char in[kBlock], expected[kBlock];
  int fds[2];
  tcp_pair(fds);
  pid_t pid = start_child(send_blocks, &fds[0]);
  OK(close(fds[0]));
  for (int i = 0; i < kBlocks; i++) {
    CHECK_EQ(recv(fds[1], in, kBlock, MSG_WAITALL), kBlock);
    fill(expected, kBlock, i);
    CHECK(memcmp(in, expected, kBlock) == 0);
  }
  CHECK_EQ(read(fds[1], in, 1), 0);
  reap(pid, 16);
  OK(close(fds[1]));
  mix(in, 4096);
  mix_number(round);
}

PROBE(.round = each)
