/* 1 MB and 16 MB through a socket pair from a child, and back. */
#include "probe.h"

static int fds[2];

static int mirror(void* size) {
  size_t length = *(size_t*)size;
  char* data = malloc(length);
  read_all(fds[1], data, length);
  write_all(fds[1], data, length);
  return 9;
}

static void setup(void) {
  int size = 1 << 20;
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  OK(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
}

static void each(unsigned round) {
  for (size_t size = 1 << 20; size <= 16 << 20; size <<= 4) {
    char *out = malloc(size), *in = malloc(size);
    fill(out, size, round);
    pid_t pid = start_child(mirror, &size);
    write_all(fds[0], out, size);
    CHECK_EQ(recv(fds[0], in, size, MSG_WAITALL), (long)size);
    CHECK(memcmp(in, out, size) == 0);
    mix(in, 4096);
    reap(pid, 9);
    free(out);
    free(in);
  }
}

PROBE(.setup = setup, .round = each)
