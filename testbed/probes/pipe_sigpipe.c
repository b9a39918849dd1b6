/* Writing to a pipe and to a socket that nobody reads: SIGPIPE and EPIPE, MSG_NOSIGNAL, death of a child. */
#include "probe.h"

static volatile sig_atomic_t signals;

static void on_pipe(int signal, siginfo_t* info, void* context) {
  (void)context;
  CHECK_EQ(signal, SIGPIPE);
  CHECK_EQ(info->si_pid, getpid());
  signals++;
}

static int die(void* fds) {
  default_handler(SIGPIPE);
  (void)!write(((int*)fds)[1], "x", 1);
  return 0;
}

static void setup(void) { set_handler(SIGPIPE, on_pipe, SA_RESTART); }

static void each(unsigned round) {
  int fds[2];
  OK(pipe(fds));
  OK(close(fds[0]));
  FAILS(write(fds[1], "x", 1), EPIPE);
  CHECK_EQ(signals, 2 * round - 1);
  int status = wait_status(start_child(die, fds));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
  OK(close(fds[1]));
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  OK(close(fds[0]));
  FAILS(send(fds[1], "x", 1, MSG_NOSIGNAL), EPIPE);
  CHECK_EQ(signals, 2 * round - 1);
  FAILS(send(fds[1], "x", 1, 0), EPIPE);
  CHECK_EQ(signals, 2 * round);
  OK(close(fds[1]));
  mix_number(signals);
}

PROBE(.setup = setup, .round = each)
