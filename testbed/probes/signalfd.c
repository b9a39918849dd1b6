/* signalfd: signals are read, with their siginfo, of the process and from a child; one stays pending. */
#include <sys/signalfd.h>

#include "probe.h"

static int fd;

static void setup(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGRTMIN + 1);
  sigaddset(&set, SIGCHLD);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
  fd = OK(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  OK(raise(SIGUSR1));
}

static int exit_with(void* code) { return (int)(long)code; }

static void each(unsigned round) {
  struct signalfd_siginfo info[4];
  struct pollfd wait = {.fd = fd, .events = POLLIN};
  CHECK_EQ(read(fd, info, sizeof info), sizeof *info);
  CHECK_EQ(info->ssi_signo, SIGUSR1);
  CHECK_EQ(info->ssi_pid, getpid());
  FAILS(read(fd, info, sizeof info), EAGAIN);
  union sigval value = {.sival_int = round};
  OK(sigqueue(getpid(), SIGRTMIN + 1, value));
  value.sival_int++;
  OK(sigqueue(getpid(), SIGRTMIN + 1, value));
  CHECK_EQ(read(fd, info, sizeof info), 2 * sizeof *info);
  CHECK_EQ(info[0].ssi_int, round);
  CHECK_EQ(info[1].ssi_int, round + 1);
  CHECK_EQ(info[1].ssi_code, SI_QUEUE);
  pid_t pid = start_child(exit_with, (void*)17);
  CHECK_EQ(poll(&wait, 1, -1), 1);
  CHECK_EQ(read(fd, info, sizeof info), sizeof *info);
  CHECK_EQ(info->ssi_signo, SIGCHLD);
  CHECK_EQ(info->ssi_pid, pid);
  CHECK_EQ(info->ssi_status, 17);
  note(info, sizeof *info);
  reap(pid, 17);
  OK(raise(SIGUSR1)); /* for the next round */
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
