/* waitid: exited, killed, stopped, continued; looking without taking; usage of a child. */
#include <sys/resource.h>

#include "probe.h"

static int idle(void* argument) {
  (void)argument;
  while (pause() == -1) {
  }
  return 1;
}

static int exit_with(void* code) { return (int)(long)code; }

static void each(unsigned round) {
  siginfo_t info;
  struct rusage usage;
  int status;
  pid_t pid = start_child(exit_with, (void*)(long)(round + 20));
  OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
  CHECK_EQ(info.si_code, CLD_EXITED);
  CHECK_EQ(info.si_status, round + 20);
  CHECK_EQ(wait4(-1, &status, 0, &usage), pid); /* still there */
  note(&usage, sizeof usage);
  FAILS(waitid(P_PID, pid, &info, WEXITED), ECHILD);
  pid = start_child(idle, NULL);
  info.si_pid = 1;
  OK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
  CHECK_EQ(info.si_pid, 0);
  OK(kill(pid, SIGSTOP));
  OK(waitid(P_PID, pid, &info, WSTOPPED));
  CHECK_EQ(info.si_code, CLD_STOPPED);
  CHECK_EQ(info.si_status, SIGSTOP);
  OK(kill(pid, SIGCONT));
  OK(waitid(P_PID, pid, &info, WCONTINUED));
  CHECK_EQ(info.si_code, CLD_CONTINUED);
  OK(kill(pid, SIGTERM));
  OK(waitid(P_PGID, getpgrp(), &info, WEXITED));
  CHECK_EQ(info.si_code, CLD_KILLED);
  CHECK_EQ(info.si_status, SIGTERM);
  CHECK_EQ(info.si_pid, pid);
  mix_number(info.si_status + round);
}

PROBE(.round = each)
