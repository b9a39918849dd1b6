/* Job control on a pseudo terminal: a session with a foreground group, ^C, ^Z, reading from behind. */
#include <sys/ioctl.h>
#include <termios.h>

#include "probe.h"

static int master;

static int job(void* argument) {
  (void)argument;
  default_handler(SIGTTIN);
  while (pause() == -1) {
  }
  return 1;
}

static void await_stop(pid_t pid, int signal) {
  int status;
  CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
  CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == signal);
}

static int be_shell(void* name) {
  OK(setsid());
  int tty = OK(open(name, O_RDWR)); /* becomes the controlling terminal */
  CHECK_EQ(tcgetsid(tty), getpid());
  CHECK(signal(SIGTTOU, SIG_IGN) != SIG_ERR);
  pid_t pid = start_child(job, NULL);
  OK(setpgid(pid, pid));
  OK(tcsetpgrp(tty, pid));
  CHECK_EQ(tcgetpgrp(tty), pid);
  write_all(master, "\032", 1); /* ^Z */
  await_stop(pid, SIGTSTP);
  OK(kill(pid, SIGCONT));
  write_all(master, "\003", 1); /* ^C */
  int status = wait_status(pid);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
  OK(tcsetpgrp(tty, getpgrp()));
  pid = fork_limited();
  if (pid == 0) { /* a background group that reads */
    char byte;
    OK(setpgid(0, 0));
    _exit(read(tty, &byte, 1) == 1 ? 24 : 1);
  }
  await_stop(pid, SIGTTIN);
  write_all(master, "x\n", 2);
  OK(tcsetpgrp(tty, pid));
  OK(kill(pid, SIGCONT));
  reap(pid, 24);
  return 23;
}

static void setup(void) {
  master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master == -1) skip("no pseudo terminals");
  OK(unlockpt(master));
}

static void each(unsigned round) {
  char name[64], echo[256];
  ZERO(ptsname_r(master, name, sizeof name));
  int kept = OK(open(name, O_RDWR | O_NOCTTY));
  reap(start_child(be_shell, name), 23);
  OK(fcntl(master, F_SETFL, O_NONBLOCK));
  while (read(master, echo, sizeof echo) > 0) {
  }
  OK(fcntl(master, F_SETFL, 0));
  OK(close(kept));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
