/* times, getrusage, clock: used time of the process, its children and a thread only grows. */
#include <sys/resource.h>
#include <sys/times.h>

#include "probe.h"

static struct tms last;

static int burn(void* argument) {
  (void)argument;
  for (volatile int i = 0; i < 3000000; i++) {
  }
  return 0;
}

static void each(unsigned round) {
  struct rusage self, children, thread;
  struct tms now;
  burn(NULL);
  reap(start_child(burn, NULL), 0);
  note_number(OK(times(&now)));
  CHECK(now.tms_utime >= last.tms_utime && now.tms_cutime >= last.tms_cutime);
  last = now;
  OK(getrusage(RUSAGE_SELF, &self));
  OK(getrusage(RUSAGE_CHILDREN, &children));
  OK(getrusage(RUSAGE_THREAD, &thread));
  CHECK(self.ru_maxrss > 0 && self.ru_minflt > 0);
  CHECK(children.ru_utime.tv_sec > 0 || children.ru_utime.tv_usec + children.ru_stime.tv_usec > 0);
  note(&self, sizeof self);
  note(&children, sizeof children);
  note(&thread, sizeof thread);
  note_number(clock());
  FAILS(getrusage(77, &self), EINVAL);
  mix_number(round);
}

PROBE(.round = each)
