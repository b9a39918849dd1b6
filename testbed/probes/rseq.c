/* Restartable sequences: the C library's registration, one of our own in a thread without it, CPU numbers. */
#include <linux/rseq.h>
#include <sched.h>
#include <sys/syscall.h>

#include "probe.h"

#define SIGNATURE 0x53053053

static int use_own(void* argument) {
  static struct rseq area __attribute__((aligned(32)));
  (void)argument;
  area.cpu_id = RSEQ_CPU_ID_UNINITIALIZED;
  OK(syscall(SYS_rseq, &area, 32, 0, SIGNATURE));
  FAILS(syscall(SYS_rseq, &area, 32, 0, SIGNATURE), EBUSY);
  for (int i = 0; i < 10; i++) {
    sched_yield();
    CHECK(area.cpu_id < 100000);
  }
  OK(syscall(SYS_rseq, &area, 32, RSEQ_FLAG_UNREGISTER, SIGNATURE));
  CHECK_EQ((int)area.cpu_id, RSEQ_CPU_ID_UNINITIALIZED);
  return 0;
}

static char stack[65536] __attribute__((aligned(16)));

static void setup(void) {
  if (syscall(SYS_rseq, NULL, 0, 0, 0) == -1 && errno == ENOSYS) skip("no rseq");
}

static void each(unsigned round) {
  int status;
  /* A process without the C library's registration, which a fork would inherit. */
  pid_t pid = OK(clone(use_own, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
  CHECK_EQ(waitpid(pid, &status, 0), pid);
  CHECK_EQ(status, 0);
  note_number(OK(sched_getcpu())); /* read from the area */
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
