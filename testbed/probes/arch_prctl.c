/* arch_prctl: the FS and GS bases of a thread, which also survive a signal. */
#include <asm/prctl.h>
#include <sys/syscall.h>

#include "probe.h"

static uint64_t block[8];
static volatile uint64_t seen;

static uint64_t read_gs(void) {
  uint64_t value;
  __asm__ volatile("movq %%gs:8, %0" : "=r"(value));
  return value;
}

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  seen = read_gs();
}

static void setup(void) {
  set_handler(SIGUSR1, on_signal, 0);
  OK(syscall(SYS_arch_prctl, ARCH_SET_GS, block));
}

static void each(unsigned round) {
  unsigned long fs = 0, gs = 0;
  block[1] = round * 11;
  OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
  OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
  CHECK(fs != 0);
  CHECK_EQ(gs, (uintptr_t)block);
  CHECK_EQ(read_gs(), round * 11);
  OK(raise(SIGUSR1));
  CHECK_EQ(seen, round * 11);
  FAILS(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
  mix_number(seen);
}

PROBE(.setup = setup, .round = each)
