/* fsync, fdatasync, sync_file_range, posix_fadvise, readahead, O_DSYNC: results without output. */
#include "probe.h"

static int fd;

static void setup(void) {
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC | O_DSYNC, 0644));
}

static void each(unsigned round) {
  char data[8192];
  fill(data, sizeof data, round);
  CHECK_EQ(pwrite(fd, data, sizeof data, 0), 8192);
  OK(fsync(fd));
  OK(fdatasync(fd));
  OK(sync_file_range(fd, 0, 4096, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  ZERO(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  OK(readahead(fd, 0, 8192));
  CHECK_EQ(pread(fd, data, sizeof data, 0), 8192);
  mix(data, sizeof data);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
