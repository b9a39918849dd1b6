/* eventfd: counting, as a semaphore, without blocking, full; a child waits for it; the count stays. */
#include <sys/eventfd.h>

#include "probe.h"

static int counter, semaphore, kept;

static int take(void* argument) {
  uint64_t value = 0;
  (void)argument;
  CHECK_EQ(read(counter, &value, sizeof value), sizeof value); /* blocks */
  return value;
}

static void setup(void) {
  counter = OK(eventfd(0, EFD_CLOEXEC));
  semaphore = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
  kept = OK(eventfd(0, EFD_NONBLOCK));
}

static void each(unsigned round) {
  uint64_t value = 3;
  pid_t pid = start_child(take, NULL);
  sleep_ms(2);
  write_all(counter, &value, sizeof value);
  reap(pid, 3);
  for (unsigned i = 0; i < 2; i++) {
    read_all(semaphore, &value, sizeof value);
    CHECK_EQ(value, 1);
  }
  FAILS(read(semaphore, &value, sizeof value), EAGAIN);
  FAILS(read(semaphore, &value, 4), EINVAL);
  value = 2;
  write_all(semaphore, &value, sizeof value);
  value = round;
  write_all(kept, &value, sizeof value);
  if (round % 2 == 0) {
    read_all(kept, &value, sizeof value);
    CHECK_EQ(value, 2 * round - 1);
  }
  value = -2; /* the largest */
  int full = OK(eventfd(1, EFD_NONBLOCK));
  FAILS(write(full, &value, sizeof value), EAGAIN);
  OK(close(full));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
