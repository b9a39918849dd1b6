/* Locks of an open file description: they conflict within a process and go with a dup and a fork. */
#include "probe.h"

static int a, b;

static struct flock region(int type, off_t start, off_t length) {
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static void setup(void) {
  a = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  b = OK(open(scratch("file"), O_RDWR));
  struct flock lock = region(F_WRLCK, 0, 10);
  OK(fcntl(a, F_OFD_SETLK, &lock));
}

static int unlock(void* argument) {
  (void)argument;
  struct flock lock = region(F_UNLCK, 20, 10);
  OK(fcntl(a, F_OFD_SETLK, &lock)); /* the description is the parent's */
  return 12;
}

static void each(unsigned round) {
  struct flock lock = region(F_RDLCK, 9, 1);
  FAILS(fcntl(b, F_OFD_SETLK, &lock), EAGAIN);
  OK(fcntl(b, F_OFD_GETLK, &lock));
  CHECK_EQ(lock.l_type, F_WRLCK);
  CHECK_EQ(lock.l_len, 10);
  CHECK_EQ(lock.l_pid, -1);
  lock = region(F_WRLCK, 20, 10);
  OK(fcntl(a, F_OFD_SETLK, &lock));
  FAILS(fcntl(b, F_OFD_SETLK, &lock), EAGAIN);
  reap(start_child(unlock, NULL), 12);
  OK(fcntl(b, F_OFD_SETLK, &lock));
  lock.l_type = F_UNLCK;
  OK(fcntl(b, F_OFD_SETLK, &lock));
  mix_number(round);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
