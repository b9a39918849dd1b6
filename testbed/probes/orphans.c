/* A process whose parent dies: it gets another one, here a subreaper; PR_SET_PDEATHSIG. */
#include <sys/prctl.h>

#include "probe.h"

static int pipe_fds[2];

static int be_orphan(void* argument) {
  pid_t parent = getpid();
  (void)argument;
  pid_t pid = fork_limited();
  if (pid > 0) return 0; /* the orphan goes on */
  while (getppid() == parent) sleep_ms(1);
  pid_t ids[2] = {getpid(), getppid()};
  write_all(pipe_fds[1], ids, sizeof ids);
  _exit(44);
}

static int leave_doomed(void* argument) {
  (void)argument;
  int ready[2];
  char byte;
  OK(pipe(ready));
  pid_t pid = fork_limited();
  if (pid == 0) {
    OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
    int signal = 0;
    OK(prctl(PR_GET_PDEATHSIG, &signal));
    CHECK_EQ(signal, SIGKILL);
    write_all(ready[1], "r", 1);
    for (;;) pause();
  }
  read_all(ready[0], &byte, 1);
  write_all(pipe_fds[1], &pid, sizeof pid);
  return 0;
}

static void setup(void) {
  OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
  int on = 0;
  OK(prctl(PR_GET_CHILD_SUBREAPER, &on));
  CHECK_EQ(on, 1);
  OK(pipe(pipe_fds));
}

static void each(unsigned round) {
  pid_t ids[2];
  reap(start_child(be_orphan, NULL), 0);
  read_all(pipe_fds[0], ids, sizeof ids);
  CHECK_EQ(ids[1], getpid());
  reap(ids[0], 44);
  reap(start_child(leave_doomed, NULL), 0);
  read_all(pipe_fds[0], ids, sizeof *ids);
  int status = wait_status(ids[0]);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
