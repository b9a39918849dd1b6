/* clone3 and clone: a pidfd, the id at an address, shared descriptors, shared memory, an exit signal. */
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

#include "probe.h"

static int file_number;
static volatile int written;
static char stack[65536] __attribute__((aligned(16)));

static int share_all(void* argument) {
  written = (int)(long)argument;
  file_number = open("/dev/null", O_RDONLY); /* in the parent's table */
  return 6;
}

static void use_clone3(void) {
  int pidfd = -1;
  pid_t told = 0;
  struct clone_args arguments = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID,
                                 .pidfd = (uintptr_t)&pidfd,
                                 .parent_tid = (uintptr_t)&told,
                                 .child_tid = (uintptr_t)&file_number,
                                 .exit_signal = SIGCHLD};
  long pid = OK(syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid == 0) _exit(file_number == syscall(SYS_getpid) ? 8 : 1); /* its own copy was set */
  CHECK_EQ(told, pid);
  siginfo_t info;
  struct pollfd wait = {.fd = pidfd, .events = POLLIN};
  CHECK_EQ(poll(&wait, 1, -1), 1);
  OK(waitid(P_PIDFD, pidfd, &info, WEXITED));
  CHECK_EQ(info.si_pid, pid);
  CHECK_EQ(info.si_status, 8);
  OK(close(pidfd));
}

static void each(unsigned round) {
  int status;
  use_clone3();
  pid_t pid = OK(clone(share_all, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD,
                       (void*)(long)round));
  CHECK_EQ(written, round);
  OK(fcntl(file_number, F_GETFD));
  OK(close(file_number));
  reap(pid, 6);
  pid = OK(clone(share_all, stack + sizeof stack, CLONE_FS, (void*)7L)); /* no signal at its end */
  FAILS(waitpid(pid, &status, 0), ECHILD);
  CHECK_EQ(waitpid(pid, &status, __WCLONE), pid);
  CHECK_EQ(WEXITSTATUS(status), 6);
  CHECK_EQ(written, round);
  mix_number(round);
}

PROBE(.round = each)
