/* 1 MB and 16 MB through a pipe from a child, with single large writes and reads. */
#include "probe.h"

struct transfer {
  int fds[2];
  size_t size;
  unsigned seed;
};

static int send_all(void* argument) {
  struct transfer* t = argument;
  char* data = malloc(t->size);
  fill(data, t->size, t->seed);
  write_all(t->fds[1], data, t->size);
  return 4;
}

static void each(unsigned round) {
  for (size_t size = 1 << 20; size <= 16 << 20; size <<= 4) {
    struct transfer t = {.size = size, .seed = round};
    char *in = malloc(size), *expected = malloc(size);
    OK(pipe(t.fds));
    OK(fcntl(t.fds[0], F_SETPIPE_SZ, 1 << 20));
    pid_t pid = start_child(send_all, &t);
    OK(close(t.fds[1]));
    read_all(t.fds[0], in, size);
    char more;
    CHECK_EQ(read(t.fds[0], &more, 1), 0);
    fill(expected, size, round);
    CHECK(memcmp(in, expected, size) == 0);
    reap(pid, 4);
    OK(close(t.fds[0]));
    mix(in + size - 4096, 4096);
    free(in);
    free(expected);
  }
}

PROBE(.round = each)
