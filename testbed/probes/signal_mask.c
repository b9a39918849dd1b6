/* Masks: blocked signals are pending, once only; they stay so over a round; sa_mask; each thread's own. */
#include "probe.h"

static volatile sig_atomic_t count, inside;

static void on_signal(int signal, siginfo_t* info, void* context) {
  sigset_t now;
  (void)info, (void)context;
  CHECK_EQ(inside, 0);
  inside = 1;
  OK(sigprocmask(SIG_BLOCK, NULL, &now));
  CHECK(sigismember(&now, signal) && sigismember(&now, SIGTERM));
  count++;
  inside = 0;
}

static void* see_own_mask(void* argument) {
  sigset_t now, full;
  (void)argument;
  ZERO(pthread_sigmask(SIG_BLOCK, NULL, &now));
  CHECK(sigismember(&now, SIGUSR1)); /* inherited */
  sigfillset(&full);
  ZERO(pthread_sigmask(SIG_SETMASK, &full, NULL));
  return NULL;
}

static void setup(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
  sigaddset(&action.sa_mask, SIGTERM);
  OK(sigaction(SIGUSR1, &action, NULL));
  OK(sigaction(SIGUSR2, &action, NULL));
  sigset_t set = one_signal(SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
  OK(raise(SIGUSR1));
}

static void each(unsigned round) {
  sigset_t one = one_signal(SIGUSR1), two = one_signal(SIGUSR2), old, pending;
  pthread_t thread;
  OK(sigpending(&pending));
  CHECK(sigismember(&pending, SIGUSR1));
  OK(sigprocmask(SIG_BLOCK, &two, &old));
  CHECK(!sigismember(&old, SIGUSR2));
  for (int i = 0; i < 3; i++) OK(kill(getpid(), SIGUSR2)); /* counts as one */
  CHECK_EQ(count, 3 * (round - 1));
  OK(sigprocmask(SIG_UNBLOCK, &two, NULL));
  CHECK_EQ(count, 3 * round - 2);
  ZERO(pthread_create(&thread, NULL, see_own_mask, NULL));
  ZERO(pthread_join(thread, NULL));
  OK(sigprocmask(SIG_UNBLOCK, &one, NULL));
  CHECK_EQ(count, 3 * round - 1);
  OK(raise(SIGUSR1));
  OK(sigprocmask(SIG_BLOCK, &one, NULL));
  CHECK_EQ(count, 3 * round);
  OK(raise(SIGUSR1)); /* stays until the next round */
  mix_number(count);
}

PROBE(.setup = setup, .round = each)
