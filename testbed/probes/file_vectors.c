/* readv, writev, preadv, pwritev, preadv2 and pwritev2, with vectors that are empty or filled in part. */
#include <sys/uio.h>

#include "probe.h"

static int fd;

static void setup(void) { fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void each(unsigned round) {
  char a[10], b[200], c[30] = "unchanged", all[240];
  fill(all, sizeof all, round);
  struct iovec out[] = {{all, 7}, {all + 7, 0}, {all + 7, 113}};
  CHECK_EQ(pwritev(fd, out, 3, 0), 120);
  struct iovec in[] = {{a, sizeof a}, {b, 0}, {b, sizeof b}, {c, sizeof c}};
  OK(lseek(fd, 0, SEEK_SET));
  OK(ftruncate(fd, 120));
  CHECK_EQ(readv(fd, in, 4), 120);
  CHECK(memcmp(a, all, 10) == 0 && memcmp(b, all + 10, 110) == 0);
  CHECK(strcmp(c, "unchanged") == 0);
  CHECK_EQ(writev(fd, out, 3), 120);
  CHECK_EQ(preadv(fd, in, 4, 120), 120);
  CHECK(memcmp(b, all + 10, 110) == 0);
  CHECK_EQ(pwritev2(fd, out, 3, 200, RWF_DSYNC), 120);
  CHECK_EQ(preadv2(fd, in, 4, 200, 0), 120);
  CHECK(memcmp(b, all + 10, 110) == 0);
  CHECK_EQ(preadv2(fd, in, 4, 320, 0), 0);
  mix(b, 110);
}

static void finish(void) {
  OK(close(fd));
  OK(unlink(scratch("file")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
