/* Scheduling as it is read: affinity, policy, priorities, intervals; yielding between processes. */
#include <sched.h>
#include <sys/syscall.h>

#include "probe.h"

static int yield_often(void* argument) {
  (void)argument;
  for (int i = 0; i < 20; i++) OK(sched_yield());
  return 29;
}

static void each(unsigned round) {
  cpu_set_t set;
  struct sched_param parameters;
  struct timespec interval;
  unsigned char attributes[128] = "";
  OK(sched_getaffinity(0, sizeof set, &set));
  CHECK(CPU_COUNT(&set) >= 1);
  note(&set, sizeof set);
  CHECK(OK(syscall(SYS_sched_getaffinity, getpid(), sizeof set, &set)) > 0);
  note_number(OK(sched_getscheduler(0)));
  OK(sched_getparam(0, &parameters));
  note(&parameters, sizeof parameters);
  CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
  CHECK_EQ(sched_get_priority_min(SCHED_OTHER), 0);
  OK(sched_rr_get_interval(0, &interval));
  note(&interval, sizeof interval);
  OK(syscall(SYS_sched_getattr, 0, attributes, 56, 0));
  note(attributes, sizeof attributes);
  pid_t pid = start_child(yield_often, NULL);
  yield_often(NULL);
  reap(pid, 29);
  mix_number(round);
}

PROBE(.round = each)
