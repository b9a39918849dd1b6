/* Real-time signals are queued, in order, with values, and the lowest comes first. */
#include <sys/syscall.h>

#include "probe.h"

static int order[32];
static volatile sig_atomic_t count;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)context;
  order[count++] = (signal - SIGRTMIN) * 1000 + info->si_value.sival_int;
}

static void setup(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
  for (int i = 0; i < 3; i++) sigaddset(&action.sa_mask, SIGRTMIN + i);
  for (int i = 0; i < 3; i++) OK(sigaction(SIGRTMIN + i, &action, NULL));
}

static void each(unsigned round) {
  sigset_t all, old;
  sigfillset(&all);
  OK(sigprocmask(SIG_BLOCK, &all, &old));
  count = 0;
  for (int i = 0; i < 9; i++) {
    union sigval value = {.sival_int = i};
    OK(sigqueue(getpid(), SIGRTMIN + 2 - i % 3, value));
  }
  siginfo_t info = {.si_code = -77, .si_errno = 5};
  info.si_value.sival_int = 100 + round;
  OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN, &info));
  CHECK_EQ(count, 0);
  OK(sigprocmask(SIG_SETMASK, &old, NULL));
  CHECK_EQ(count, 10);
  for (int i = 1; i < count; i++) CHECK(order[i] / 1000 >= order[i - 1] / 1000);
  mix(order, sizeof *order * count);
}

PROBE(.setup = setup, .round = each)
