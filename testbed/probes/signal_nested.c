/* Signals that interrupt handlers: three deep, each returning into the one below; siglongjmp out. */
#include <setjmp.h>

#include "probe.h"

static char trace[64];
static volatile sig_atomic_t length;
static sigjmp_buf out;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)info, (void)context;
  int level = signal - SIGRTMIN;
  trace[length++] = "abc"[level];
  if (level < 2) OK(raise(signal + 1));
  trace[length++] = "ABC"[level];
  if (signal == SIGRTMIN + 3) siglongjmp(out, 7);
}

static void on_last(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  siglongjmp(out, 7);
}

static void setup(void) {
  for (int i = 0; i < 3; i++) set_handler(SIGRTMIN + i, on_signal, SA_RESTART);
  set_handler(SIGRTMIN + 3, on_last, 0);
}

static void each(unsigned round) {
  sigset_t now;
  length = 0;
  OK(raise(SIGRTMIN));
  CHECK(strcmp(trace, "abcCBA") == 0);
  int jumped = sigsetjmp(out, 1);
  if (jumped == 0) OK(raise(SIGRTMIN + 3));
  CHECK_EQ(jumped, 7);
  OK(sigprocmask(SIG_BLOCK, NULL, &now));
  CHECK(!sigismember(&now, SIGRTMIN + 3)); /* the mask was put back */
  mix_text(trace);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
