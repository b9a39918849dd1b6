/* sigaltstack: handlers run on a stack of their own, also when the ordinary one has overflowed. */
#include <setjmp.h>

#include "probe.h"

static char stack[65536];
static volatile sig_atomic_t on_own, count;
static sigjmp_buf back;

static void on_signal(int signal, siginfo_t* info, void* context) {
  char here;
  stack_t now;
  (void)info, (void)context;
  on_own = &here >= stack && &here < stack + sizeof stack;
  OK(sigaltstack(NULL, &now));
  CHECK_EQ(now.ss_flags & SS_ONSTACK, on_own ? SS_ONSTACK : 0);
  count++;
  if (signal == SIGSEGV) siglongjmp(back, 1);
}

static int overflow(int depth) {
  volatile char large[4096];
  large[depth % 4096] = (char)depth;
  return depth < 0 ? 0 : overflow(depth + 1) + large[0];
}

static void setup(void) {
  stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
  OK(sigaltstack(&own, NULL));
  set_handler(SIGUSR1, on_signal, SA_ONSTACK);
  set_handler(SIGUSR2, on_signal, 0);
  set_handler(SIGSEGV, on_signal, SA_ONSTACK);
}

static void each(unsigned round) {
  stack_t now;
  OK(raise(SIGUSR1));
  CHECK_EQ(on_own, 1);
  OK(raise(SIGUSR2));
  CHECK_EQ(on_own, 0);
  if (sigsetjmp(back, 1) == 0) CHECK_EQ(overflow(0), -1);
  CHECK_EQ(on_own, 1);
  CHECK_EQ(count, 3 * round);
  OK(sigaltstack(NULL, &now));
  CHECK(now.ss_sp == stack && now.ss_size == sizeof stack && now.ss_flags == 0);
  mix_number(count);
}

PROBE(.setup = setup, .round = each)
