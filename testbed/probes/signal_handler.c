/* Handlers and what they are told: kill, tgkill, a fault, SA_RESETHAND, SA_NODEFER, registers kept. */
#include <sys/syscall.h>
#include <ucontext.h>

#include "probe.h"

static volatile sig_atomic_t count, depth, deepest;
static volatile int last_code, last_pid;
static char* page;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)context;
  CHECK_EQ(info->si_signo, signal);
  last_code = info->si_code;
  last_pid = info->si_pid;
  count++;
  if (++depth > deepest) deepest = depth;
  if (signal == SIGUSR2 && depth == 1) CHECK_EQ(raise(SIGUSR2), 0); /* SA_NODEFER: at once */
  depth--;
}

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal;
  CHECK_EQ(info->si_code, SEGV_ACCERR);
  CHECK(info->si_addr == page + 100);
  CHECK(((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] != 0);
  count++;
  OK(mprotect(page, 4096, PROT_READ | PROT_WRITE));
}

static void setup(void) {
  page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  set_handler(SIGUSR1, on_signal, 0);
  set_handler(SIGUSR2, on_signal, SA_NODEFER);
  set_handler(SIGSEGV, on_fault, 0);
}

static void each(unsigned round) {
  count = deepest = 0;
  OK(kill(getpid(), SIGUSR1));
  CHECK_EQ(count, 1);
  CHECK_EQ(last_code, SI_USER);
  CHECK_EQ(last_pid, getpid());
  OK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
  CHECK_EQ(last_code, SI_TKILL);
  OK(raise(SIGUSR2));
  CHECK_EQ(count, 4);
  CHECK_EQ(deepest, 2);
  set_handler(SIGHUP, on_signal, SA_RESETHAND);
  OK(raise(SIGHUP));
  struct sigaction action;
  OK(sigaction(SIGHUP, NULL, &action));
  CHECK(action.sa_handler == SIG_DFL);
  OK(mprotect(page, 4096, PROT_READ));
  double before = round * 1.5; /* must survive in a register */
  page[100] = (char)round;
  CHECK(before == round * 1.5);
  CHECK_EQ(page[100], (char)round);
  CHECK_EQ(count, 6);
  OK(kill(getpid(), 0));
  FAILS(kill(999999, 0), ESRCH);
  mix_number(count + round);
}

PROBE(.setup = setup, .round = each)
