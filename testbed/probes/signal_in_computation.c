/* Signals in the middle of a computation that makes no syscalls: registers and results must not suffer. */
#include <sys/time.h>

#include "probe.h"

static volatile sig_atomic_t count;
static double disturbed;

static void on_alarm(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  double x = count; /* uses the registers that the computation uses */
  for (int i = 0; i < 100; i++) x = x * 1.0001 + i;
  disturbed += x;
  count++;
}

static uint64_t compute(uint64_t seed, double* sum) {
  uint64_t x = seed;
  double s = 0;
  for (int i = 0; i < 2000000; i++) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    s += (double)(x >> 40) * 1e-6;
  }
  *sum = s;
  return x;
}

static void setup(void) { set_handler(SIGVTALRM, on_alarm, 0); }

static void each(unsigned round) {
  struct itimerval often = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
  double a, b;
  uint64_t x = compute(round, &a);
  OK(setitimer(ITIMER_VIRTUAL, &often, NULL));
  uint64_t y = compute(round, &b);
  OK(setitimer(ITIMER_VIRTUAL, &off, NULL));
  CHECK(x == y && a == b);
  note_number(count);
  note(&disturbed, sizeof disturbed);
  mix_number(x);
  mix(&a, sizeof a);
}

PROBE(.setup = setup, .round = each)
