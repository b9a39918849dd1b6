/* timerfd: once, periodic, absolute, read without blocking; one runs over all rounds. */
#include <sys/timerfd.h>

#include "probe.h"

static int once, always;

static void setup(void) {
  once = OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  always = OK(timerfd_create(CLOCK_REALTIME, 0));
  struct itimerspec period = {{0, 3000000}, {0, 3000000}};
  OK(timerfd_settime(always, 0, &period, NULL));
}

static void each(unsigned round) {
  struct itimerspec in_3_ms = {{0, 0}, {0, 3000000}}, old, off = {{0, 0}, {0, 0}};
  struct pollfd wait = {.fd = once, .events = POLLIN};
  uint64_t expired;
  OK(timerfd_settime(once, 0, &in_3_ms, NULL));
  OK(timerfd_gettime(once, &old));
  CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_nsec <= 3000000);
  note(&old, sizeof old);
  CHECK_EQ(poll(&wait, 1, -1), 1);
  CHECK_EQ(read(once, &expired, sizeof expired), sizeof expired);
  CHECK_EQ(expired, 1);
  FAILS(read(once, &expired, sizeof expired), EAGAIN);
  struct timespec now;
  OK(clock_gettime(CLOCK_MONOTONIC, &now));
  struct itimerspec past = {{0, 0}, now};
  OK(timerfd_settime(once, TFD_TIMER_ABSTIME, &past, &old));
  CHECK_EQ(poll(&wait, 1, -1), 1);
  OK(timerfd_settime(once, 0, &off, NULL));
  FAILS(read(once, &expired, sizeof expired), EAGAIN);
  read_all(always, &expired, sizeof expired); /* blocks */
  CHECK(expired >= 1);
  note_number(expired);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
