/* A file that has no name any more is written to and read from, and keeps its content and position. */
#include "probe.h"

static int fd;

static void setup(void) {
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_EXCL, 0600));
  OK(unlink(scratch("file")));
  FAILS(access(scratch("file"), F_OK), ENOENT);
}

static void each(unsigned round) {
  char line[64], all[4096];
  struct stat st;
  write_all(fd, line, snprintf(line, sizeof line, "line %u of a file without a name\n", round));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 0);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), st.st_size);
  ssize_t n = OK(pread(fd, all, sizeof all, 0));
  CHECK(memcmp(all, "line 1 of", 9) == 0);
  mix(all, n);
}

PROBE(.setup = setup, .round = each)
