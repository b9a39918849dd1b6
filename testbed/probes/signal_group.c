/* kill of a process group, and of a process with threads: who gets it, and that each gets one. */
#include "probe.h"

enum { kChildren = 3 };
static volatile sig_atomic_t got;
static pthread_t receiver;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  got++;
}

static int wait_for_signal(void* ready) {
  sigset_t none;
  sigemptyset(&none);
  write_all(((int*)ready)[1], "r", 1);
  while (got == 0) sigsuspend(&none);
  return got;
}

static void* receive(void* argument) {
  sigset_t set = one_signal(SIGUSR2);
  int signal = 0;
  (void)argument;
  ZERO(sigwait(&set, &signal));
  return (void*)(long)signal;
}

static void setup(void) {
  sigset_t set = one_signal(SIGUSR1);
  sigaddset(&set, SIGUSR2);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
  set_handler(SIGUSR1, on_signal, 0);
}

static void each(unsigned round) {
  int ready[2];
  char bytes[kChildren];
  pid_t pids[kChildren];
  OK(pipe(ready));
  for (int i = 0; i < kChildren; i++) {
    pids[i] = start_child(wait_for_signal, ready);
    OK(setpgid(pids[i], pids[0]));
  }
  read_all(ready[0], bytes, kChildren);
  if (round % 2)
    OK(kill(-pids[0], SIGUSR1));
  else
    OK(killpg(pids[0], SIGUSR1));
  for (int i = 0; i < kChildren; i++) reap(pids[i], 1);
  FAILS(kill(-pids[0], SIGUSR1), ESRCH);
  CHECK_EQ(got, 0);
  void* result;
  ZERO(pthread_create(&receiver, NULL, receive, NULL));
  OK(kill(getpid(), SIGUSR2)); /* to the process: the thread that waits for it takes it */
  ZERO(pthread_join(receiver, &result));
  CHECK_EQ((long)result, SIGUSR2);
  ZERO(pthread_create(&receiver, NULL, receive, NULL));
  ZERO(pthread_kill(receiver, SIGUSR2));
  ZERO(pthread_join(receiver, &result));
  CHECK_EQ((long)result, SIGUSR2);
  OK(close(ready[0]));
  OK(close(ready[1]));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
