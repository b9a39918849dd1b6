/* SIGCHLD: handlers that reap, siginfo of an exit and a death, SA_NOCLDSTOP, SA_NOCLDWAIT. */
#include "probe.h"

static volatile sig_atomic_t count, code, status_seen;
static volatile pid_t pid_seen;

static void on_child(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  code = info->si_code;
  status_seen = info->si_status;
  pid_seen = info->si_pid;
  count++;
}

static int exit_with(void* value) { return (int)(long)value; }
static int die(void* signal) {
  default_handler((int)(long)signal);
  OK(raise((int)(long)signal));
  return 1;
}
static int stop(void* argument) {
  (void)argument;
  OK(raise(SIGSTOP));
  return 9;
}

static void await_count(int number) {
  while (count < number) sleep_ms(1);
}

static void each(unsigned round) {
  int status;
  set_handler(SIGCHLD, on_child, SA_RESTART);
  count = 0;
  pid_t pid = start_child(exit_with, (void*)(long)(round + 4));
  await_count(1);
  CHECK_EQ(code, CLD_EXITED);
  CHECK_EQ(status_seen, round + 4);
  CHECK_EQ(pid_seen, pid);
  reap(pid, round + 4);
  pid = start_child(die, (void*)SIGTERM);
  await_count(2);
  CHECK_EQ(code, CLD_KILLED);
  CHECK_EQ(status_seen, SIGTERM);
  CHECK(WIFSIGNALED(wait_status(pid)));
  pid = start_child(stop, NULL);
  await_count(3);
  CHECK_EQ(code, CLD_STOPPED);
  set_handler(SIGCHLD, on_child, SA_RESTART | SA_NOCLDSTOP);
  OK(kill(pid, SIGCONT));
  reap(pid, 9);
  await_count(4);
  set_handler(SIGCHLD, on_child, SA_NOCLDWAIT | SA_RESTART);
  pid = start_child(exit_with, (void*)1);
  FAILS(waitpid(pid, &status, 0), ECHILD);
  default_handler(SIGCHLD);
  mix_number(round);
}

PROBE(.round = each)
