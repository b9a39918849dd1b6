/* 1 MB and 16 MB in single reads and writes. */
#include "probe.h"

static int fd;
static char *out, *in;

static void setup(void) {
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  CHECK((out = malloc(16 << 20)) && (in = malloc(16 << 20)));
}

static void each(unsigned round) {
  for (size_t size = 1 << 20; size <= 16 << 20; size <<= 4) {
    fill(out, size, round + size);
    CHECK_EQ(pwrite(fd, out, size, 4096), (long)size);
    OK(lseek(fd, 4096, SEEK_SET));
    CHECK_EQ(read(fd, in, size), (long)size);
    CHECK(memcmp(in, out, size) == 0);
    mix(in + size - 4096, 4096);
  }
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
