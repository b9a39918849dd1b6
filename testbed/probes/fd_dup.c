/* dup, dup2, dup3, F_DUPFD: descriptors of one description share position and status flags. */
#include "probe.h"

static int original, kept;

static void setup(void) {
  original = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  kept = OK(dup(original));
}

static void each(unsigned round) {
  int high = OK(dup2(original, 100));
  CHECK_EQ(high, 100);
  CHECK_EQ(dup2(100, 100), 100);
  CHECK_EQ(OK(dup3(original, 101, O_CLOEXEC)), 101);
  FAILS(dup3(101, 101, 0), EINVAL);
  int lowest = OK(fcntl(original, F_DUPFD_CLOEXEC, 102));
  CHECK_EQ(lowest, 102);
  CHECK_EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(fcntl(100, F_GETFD), 0);
  write_all(100, "abc", 3);
  write_all(kept, "defg", 4);
  CHECK_EQ(lseek(original, 0, SEEK_CUR), round * 7);
  OK(fcntl(kept, F_SETFL, O_APPEND));
  CHECK(OK(fcntl(102, F_GETFL)) & O_APPEND);
  OK(fcntl(kept, F_SETFL, 0));
  for (int fd = 100; fd <= 102; fd++) OK(close(fd));
  FAILS(close(101), EBADF);
  FAILS(dup(101), EBADF);
  mix_number(lseek(kept, 0, SEEK_CUR));
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
