/* A regular file: write, lseek, read, pread, pwrite. The open file and its position stay. */
#include "probe.h"

static int fd;

static void setup(void) { fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void each(unsigned round) {
  char block[1000], back[1000];
  fill(block, sizeof block, round);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), (round - 1) * 1000);
  CHECK_EQ(write(fd, block, sizeof block), 1000);
  CHECK_EQ(pread(fd, back, sizeof back, (round - 1) * 1000), 1000);
  CHECK(memcmp(block, back, sizeof back) == 0);
  CHECK_EQ(pwrite(fd, "first", 5, 0), 5);
  OK(lseek(fd, 0, SEEK_SET));
  CHECK_EQ(read(fd, back, 10), 10);
  mix(back, 10);
  CHECK_EQ(lseek(fd, 0, SEEK_END), round * 1000);
  CHECK_EQ(read(fd, back, 10), 0);
}

static void finish(void) {
  OK(close(fd));
  OK(unlink(scratch("file")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
