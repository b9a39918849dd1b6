/* sigwaitinfo, sigtimedwait, sigwait: signals are taken without a handler, with a time limit. */
#include "probe.h"

static sigset_t set;

static int send_later(void* parent) {
  union sigval value = {.sival_int = 4711};
  sleep_ms(3);
  OK(sigqueue((pid_t)(long)parent, SIGRTMIN + 2, value));
  return 0;
}

static void setup(void) {
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 2);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
}

static void each(unsigned round) {
  siginfo_t info;
  struct timespec soon = {0, 2000000}, now = {0, 0};
  int signal = 0;
  FAILS(sigtimedwait(&set, &info, &now), EAGAIN);
  FAILS(sigtimedwait(&set, &info, &soon), EAGAIN);
  OK(raise(SIGUSR1));
  CHECK_EQ(sigtimedwait(&set, &info, &now), SIGUSR1);
  CHECK_EQ(info.si_pid, getpid());
  pid_t pid = start_child(send_later, (void*)(long)getpid());
  int got;
  while ((got = sigwaitinfo(&set, &info)) == -1) CHECK_EQ(errno, EINTR);
  CHECK_EQ(got, SIGRTMIN + 2);
  CHECK_EQ(info.si_value.sival_int, 4711);
  CHECK_EQ(info.si_pid, pid);
  reap(pid, 0);
  OK(kill(getpid(), SIGUSR1));
  ZERO(sigwait(&set, &signal));
  CHECK_EQ(signal, SIGUSR1);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
