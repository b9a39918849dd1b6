/* ppoll: a signal that is blocked otherwise ends it; it also was pending; what is left of the time. */
#include "probe.h"

static volatile sig_atomic_t signals;
static int fds[2];

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  signals++;
}

static void setup(void) {
  sigset_t set = one_signal(SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
  set_handler(SIGUSR1, on_signal, 0);
  OK(pipe(fds));
}

static void each(unsigned round) {
  struct pollfd in = {.fd = fds[0], .events = POLLIN};
  struct timespec limit = {5, 0};
  sigset_t none, now;
  sigemptyset(&none);
  OK(kill(getpid(), SIGUSR1)); /* pending */
  CHECK_EQ(signals, round - 1);
  errno = 0;
  CHECK(ppoll(&in, 1, &limit, &none) == -1 && errno == EINTR);
  CHECK_EQ(signals, round);
  OK(sigprocmask(SIG_BLOCK, NULL, &now));
  CHECK(sigismember(&now, SIGUSR1));
  limit = (struct timespec){0, 2000000};
  CHECK_EQ(ppoll(&in, 1, &limit, NULL), 0);
  write_all(fds[1], "x", 1);
  CHECK_EQ(ppoll(&in, 1, NULL, &none), 1);
  char byte;
  read_all(fds[0], &byte, 1);
  mix_number(signals);
}

PROBE(.setup = setup, .round = each)
