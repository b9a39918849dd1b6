/* sigsuspend and pause: two processes wake each other by signals, many times. */
#include "probe.h"

enum { kTimes = 10 };
static volatile sig_atomic_t count;
static sigset_t open_mask;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  count++;
}

static void await_signal(int number) {
  while (count < number) {
    errno = 0;
    CHECK(sigsuspend(&open_mask) == -1 && errno == EINTR);
  }
}

static int answer(void* argument) {
  (void)argument;
  for (int i = 1; i <= kTimes; i++) {
    await_signal(i);
    OK(kill(getppid(), SIGUSR1));
  }
  return 14;
}

static void on_alarm(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
}

static void setup(void) {
  sigset_t set = one_signal(SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, &open_mask));
  set_handler(SIGUSR1, on_signal, 0);
}

static void each(unsigned round) {
  count = 0;
  pid_t pid = start_child(answer, NULL);
  for (int i = 1; i <= kTimes; i++) {
    OK(kill(pid, SIGUSR1));
    await_signal(i);
  }
  reap(pid, 14);
  CHECK_EQ(count, kTimes);
  mix_number(count + round);
  struct sigaction old, action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
  OK(sigaction(SIGALRM, &action, &old));
  pid_t me = getpid();
  pid = fork_limited();
  if (pid == 0) {
    sleep_ms(10);
    _exit(kill(me, SIGALRM) == 0 ? 2 : 1);
  }
  errno = 0;
  CHECK(pause() == -1 && errno == EINTR);
  reap(pid, 2);
  OK(sigaction(SIGALRM, &old, NULL));
}

PROBE(.setup = setup, .round = each)
