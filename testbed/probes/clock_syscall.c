/* Clocks by the system calls themselves, and those that only a syscall reads: other processes' CPU time. */
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>

#include "probe.h"

static int idle(void* argument) {
  (void)argument;
  while (pause() == -1) {
  }
  return 1;
}

static void each(unsigned round) {
  struct timespec previous = {0, 0};
  for (int clock = 0; clock <= CLOCK_TAI; clock++) {
    struct timespec now, resolution;
    if (clock == 10) continue; /* has been given up */
    if (syscall(SYS_clock_gettime, clock, &now) == -1) {
      CHECK_EQ(errno, EINVAL);
      continue;
    }
    note(&now, sizeof now);
    OK(syscall(SYS_clock_getres, clock, &resolution));
    note(&resolution, sizeof resolution);
    if (clock == CLOCK_MONOTONIC) previous = now;
  }
  CHECK(previous.tv_sec > 0);
  struct timeval tv;
  struct timezone zone;
  long seconds = 0, result = OK(syscall(SYS_time, &seconds));
  CHECK_EQ(seconds, result);
  OK(syscall(SYS_gettimeofday, &tv, &zone));
  note(&tv, sizeof tv);
  CHECK(tv.tv_sec - seconds <= 1);
  unsigned cpu = 999, node = 999;
  OK(syscall(SYS_getcpu, &cpu, &node, NULL));
  CHECK(cpu < 999);
  note_number(cpu);
  struct timex timex = {.modes = 0};
  if (adjtimex(&timex) != -1) note(&timex, sizeof timex);
  pid_t pid = start_child(idle, NULL);
  clockid_t of_child;
  ZERO(clock_getcpuclockid(pid, &of_child));
  struct timespec used;
  OK(clock_gettime(of_child, &used));
  CHECK_EQ(used.tv_sec, 0);
  note(&used, sizeof used);
  OK(kill(pid, SIGKILL));
  CHECK(WIFSIGNALED(wait_status(pid)));
  mix_number(round);
}

PROBE(.round = each)
