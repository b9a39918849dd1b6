/* Holes: SEEK_HOLE, SEEK_DATA, fallocate with KEEP_SIZE and PUNCH_HOLE. */
#include "probe.h"

enum { kBlock = 65536 };
static int fd;

static void setup(void) { fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void each(unsigned round) {
  char byte;
  OK(ftruncate(fd, 0));
  OK(ftruncate(fd, 8 * kBlock));
  CHECK_EQ(pwrite(fd, "data", 4, (off_t)4 * kBlock), 4);
  /* A filesystem without holes says that all is data. */
  off_t hole = OK(lseek(fd, 0, SEEK_HOLE)), data = OK(lseek(fd, 0, SEEK_DATA));
  CHECK(hole == 0 ? data > 0 && data <= 4 * kBlock : data == 0);
  FAILS(lseek(fd, 9 * kBlock, SEEK_DATA), ENXIO);
  if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16 * kBlock) == -1) {
    CHECK(errno == EOPNOTSUPP || errno == ENOSYS);
  } else {
    struct stat st;
    OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 8 * kBlock);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)4 * kBlock, kBlock));
    CHECK_EQ(pread(fd, &byte, 1, (off_t)4 * kBlock), 1);
    CHECK_EQ(byte, 0);
  }
  OK(posix_fallocate(fd, 0, (off_t)(8 + round) * kBlock));
  mix_number(OK(lseek(fd, 0, SEEK_END)));
}

static void finish(void) {
  OK(close(fd));
  OK(unlink(scratch("file")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
