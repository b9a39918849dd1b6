/* Process groups and sessions: setpgid, setsid, waiting for a group, a group that is orphaned. */
#include "probe.h"

static int wait_and_exit(void* fd) {
  char byte;
  ssize_t n = read((int)(long)fd, &byte, 1);
  return n == 1 ? 12 : 1;
}

static int lead_session(void* argument) {
  (void)argument;
  pid_t session = OK(setsid());
  CHECK_EQ(session, getpid());
  CHECK_EQ(getsid(0), session);
  CHECK_EQ(getpgrp(), session);
  FAILS(setsid(), EPERM);
  pid_t pid = fork_limited();
  if (pid == 0) _exit(getsid(0) == session && setpgid(0, 0) == 0 && getpgrp() == getpid() ? 3 : 1);
  reap(pid, 3);
  return 4;
}

static void each(unsigned round) {
  int fds[2], status;
  OK(pipe(fds));
  pid_t first = start_child(wait_and_exit, (void*)(long)fds[0]);
  OK(setpgid(first, first));
  pid_t second = start_child(wait_and_exit, (void*)(long)fds[0]);
  OK(setpgid(second, first));
  CHECK_EQ(getpgid(second), first);
  FAILS(waitpid(-second, &status, WNOHANG), ECHILD);
  CHECK_EQ(waitpid(-first, &status, WNOHANG), 0);
  write_all(fds[1], "ab", 2);
  for (int i = 0; i < 2; i++) {
    CHECK(OK(waitpid(-first, &status, 0)) > 0);
    CHECK_EQ(WEXITSTATUS(status), 12);
  }
  FAILS(waitpid(-first, &status, 0), ECHILD);
  reap(start_child(lead_session, NULL), 4);
  OK(close(fds[0]));
  OK(close(fds[1]));
  mix_number(round);
}

PROBE(.round = each)
