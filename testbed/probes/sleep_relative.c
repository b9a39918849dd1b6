/* nanosleep and clock_nanosleep: not too short, also at an absolute time and one that has passed. */
#include "probe.h"

static long elapsed_us(struct timespec since) {
  struct timespec now;
  OK(clock_gettime(CLOCK_MONOTONIC, &now));
  return (now.tv_sec - since.tv_sec) * 1000000 + (now.tv_nsec - since.tv_nsec) / 1000;
}

static void each(unsigned round) {
  struct timespec start, short_time = {0, 2000000}, at, left = {0, 0};
  OK(clock_gettime(CLOCK_MONOTONIC, &start));
  OK(nanosleep(&short_time, &left));
  CHECK(elapsed_us(start) >= 2000);
  CHECK_EQ(left.tv_nsec, 0);
  ZERO(clock_nanosleep(CLOCK_BOOTTIME, 0, &short_time, NULL));
  CHECK(elapsed_us(start) >= 4000);
  OK(clock_gettime(CLOCK_MONOTONIC, &at));
  at.tv_nsec += 3000000;
  if (at.tv_nsec >= 1000000000) {
    at.tv_nsec -= 1000000000;
    at.tv_sec++;
  }
  ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL));
  CHECK(elapsed_us(at) >= 0);
  OK(clock_gettime(CLOCK_REALTIME, &at));
  at.tv_sec--;
  ZERO(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL)); /* at once */
  note_number(elapsed_us(start));
  struct timespec wrong = {0, 1000000000};
  FAILS(nanosleep(&wrong, NULL), EINVAL);
  CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &short_time, NULL), EINVAL);
  usleep(1000);
  mix_number(round);
}

PROBE(.round = each)
