/* membarrier: what there is, registration, barriers while a thread runs. */
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "probe.h"

static unsigned turns;
static bool stop;

static void* run(void* argument) {
  (void)argument;
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    __atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
    sleep_ms(1);
  }
  return NULL;
}

static long membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

static void setup(void) {
  long commands = membarrier(MEMBARRIER_CMD_QUERY);
  if (commands <= 0 || !(commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED)) skip("no membarrier");
  FAILS(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), EPERM);
  OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
}

static void each(unsigned round) {
  pthread_t thread;
  stop = false;
  ZERO(pthread_create(&thread, NULL, run, NULL));
  for (int i = 0; i < 5; i++) OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
  OK(membarrier(MEMBARRIER_CMD_GLOBAL));
  __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
  ZERO(pthread_join(thread, NULL));
  note_number(turns);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
