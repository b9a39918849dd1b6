/* flock: shared, exclusive, converted, waited for; it belongs to the description. */
#include <sys/file.h>

#include "probe.h"

static int held;

static void setup(void) {
  held = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  OK(flock(held, LOCK_EX));
}

static int wait_for_it(void* name) {
  int fd = OK(open(name, O_RDWR));
  OK(flock(fd, LOCK_EX));
  return 21;
}

static void each(unsigned round) {
  int other = OK(open(scratch("file"), O_RDWR));
  FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  OK(flock(held, LOCK_SH));
  OK(flock(other, LOCK_SH | LOCK_NB));
  FAILS(flock(held, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  pid_t pid = start_child(wait_for_it, (void*)scratch("file"));
  sleep_ms(2);
  CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
  OK(flock(other, LOCK_UN));
  OK(flock(held, LOCK_UN));
  reap(pid, 21);
  OK(flock(held, LOCK_EX | LOCK_NB));
  OK(close(other));
  mix_number(round);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
