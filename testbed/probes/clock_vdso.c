/* Clocks as a program reads them, without a syscall where the kernel allows it: never backwards. */
#include <sched.h>
#include <sys/time.h>

#include "probe.h"

static const clockid_t kClocks[] = {CLOCK_REALTIME,         CLOCK_MONOTONIC,        CLOCK_BOOTTIME,
                                    CLOCK_MONOTONIC_RAW,    CLOCK_REALTIME_COARSE,  CLOCK_MONOTONIC_COARSE,
                                    CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_TAI};
enum { kCount = sizeof kClocks / sizeof *kClocks, kReadings = 20 };
static struct timespec last[kCount];

static bool before(struct timespec a, struct timespec b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static void each(unsigned round) {
  for (unsigned i = 0; i < kReadings; i++) {
    for (unsigned k = 0; k < kCount; k++) {
      struct timespec now;
      OK(clock_gettime(kClocks[k], &now));
      CHECK(now.tv_nsec >= 0 && now.tv_nsec < 1000000000);
      CHECK(!before(now, last[k]));
      last[k] = now;
      note(&now, sizeof now);
    }
  }
  struct timeval tv;
  struct timespec resolution;
  OK(gettimeofday(&tv, NULL));
  time_t seconds = time(NULL);
  CHECK(seconds - tv.tv_sec <= 1 && seconds - tv.tv_sec >= -1);
  note(&tv, sizeof tv);
  note_number(seconds);
  OK(clock_getres(CLOCK_MONOTONIC, &resolution));
  note(&resolution, sizeof resolution);
  note_number(OK(sched_getcpu()));
  FAILS(clock_gettime(99, &resolution), EINVAL);
  mix_number(round);
}

PROBE(.round = each)
