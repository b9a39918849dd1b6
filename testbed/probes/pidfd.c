/* pidfd: waited for by poll, signalled, a descriptor taken out of a child, the end of the child. */
#include <sys/syscall.h>

#include "probe.h"

static int idle(void* fds) {
  int own[2];
  OK(pipe(own));
  write_all(own[1], "theirs", 6);
  write_all(((int*)fds)[1], own, sizeof *own);
  while (pause() == -1) {
  }
  return 1;
}

static void each(unsigned round) {
  int fds[2], theirs;
  char text[8] = "";
  siginfo_t info;
  OK(pipe(fds));
  pid_t pid = start_child(idle, fds);
  int fd = (int)OK(syscall(SYS_pidfd_open, pid, 0));
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, 0), 0);
  read_all(fds[0], &theirs, sizeof theirs);
  long taken = syscall(SYS_pidfd_getfd, fd, theirs, 0);
  if (taken >= 0) { /* needs the right to trace */
    read_all((int)taken, text, 6);
    CHECK(strcmp(text, "theirs") == 0);
    OK(close((int)taken));
  } else {
    CHECK_EQ(errno, EPERM);
  }
  OK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
  OK(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
  CHECK_EQ(poll(&wait, 1, -1), 1);
  OK(waitid(P_PIDFD, fd, &info, WEXITED));
  CHECK_EQ(info.si_pid, pid);
  CHECK_EQ(info.si_status, SIGTERM);
  FAILS(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0), ESRCH);
  OK(close(fd));
  OK(close(fds[0]));
  OK(close(fds[1]));
  mix_number(round);
}

PROBE(.round = each)
