/* O_ASYNC: SIGIO, or a real-time signal with the descriptor in its siginfo, when bytes come. */
#include "probe.h"

static int fds[2];
static volatile sig_atomic_t count, number;

static void on_io(int signal, siginfo_t* info, void* context) {
  (void)context;
  if (signal != SIGIO) number = info->si_fd;
  count++;
}

static void setup(void) {
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  set_handler(SIGIO, on_io, SA_RESTART);
  set_handler(SIGRTMIN + 6, on_io, SA_RESTART);
  OK(fcntl(fds[0], F_SETOWN, getpid()));
  OK(fcntl(fds[0], F_SETFL, O_ASYNC));
}

static void each(unsigned round) {
  char byte;
  count = 0;
  OK(fcntl(fds[0], F_SETSIG, 0));
  write_all(fds[1], "x", 1);
  CHECK_EQ(count, 1);
  read_all(fds[0], &byte, 1);
  OK(fcntl(fds[0], F_SETSIG, SIGRTMIN + 6));
  CHECK_EQ(fcntl(fds[0], F_GETSIG), SIGRTMIN + 6);
  write_all(fds[1], "y", 1);
  CHECK(count >= 2);
  CHECK_EQ(number, fds[0]);
  read_all(fds[0], &byte, 1);
  struct f_owner_ex owner;
  OK(fcntl(fds[0], F_GETOWN_EX, &owner));
  CHECK(owner.type == F_OWNER_PID && owner.pid == getpid());
  mix_number(round + byte);
}

PROBE(.setup = setup, .round = each)
