/* exec: what the new program keeps (descriptors, masks, ignored signals, limits) and what it loses. */
#include <sys/prctl.h>

#include "probe.h"

extern char** environ;

static int child(int argc, char** argv) {
  CHECK_EQ(argc, 5);
  char text[32] = "", name[16] = "";
  int fd = atoi(argv[2]);
  sigset_t mask, pending;
  struct sigaction action;
  OK(sigprocmask(SIG_BLOCK, NULL, &mask));
  OK(sigpending(&pending));
  CHECK(sigismember(&mask, SIGUSR2) && sigismember(&pending, SIGUSR2));
  OK(sigaction(SIGUSR1, NULL, &action));
  CHECK(action.sa_handler == SIG_DFL); /* had a handler */
  OK(sigaction(SIGHUP, NULL, &action));
  CHECK(action.sa_handler == SIG_IGN);
  CHECK_EQ(getpid(), atoi(argv[3]));
  CHECK_EQ(read(fd, text, sizeof text), 4); /* from the position where it was */
  CHECK(strcmp(text, "rest") == 0);
  CHECK(strcmp(getenv("PROBE_VALUE"), argv[4]) == 0);
  OK(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "renamed") != 0);
  CHECK_EQ(umask(0), 027);
  return 55;
}

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
}

static void each(unsigned round) {
  char fd_text[16], pid_text[16], value[32], text[32];
  int fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0600));
  write_all(fd, "readrest", 8);
  OK(lseek(fd, 0, SEEK_SET));
  read_all(fd, text, 4);
  pid_t pid = fork_limited();
  if (pid == 0) {
    sigset_t set = one_signal(SIGUSR2);
    snprintf(fd_text, sizeof fd_text, "%d", fd);
    snprintf(pid_text, sizeof pid_text, "%d", getpid());
    snprintf(text, sizeof text, "round %u", round);
    snprintf(value, sizeof value, "PROBE_VALUE=%s", text);
    set_handler(SIGUSR1, on_signal, 0);
    CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    OK(raise(SIGUSR2));
    OK(prctl(PR_SET_NAME, "renamed"));
    umask(027);
    char *arguments[] = {program_invocation_name, "--child", fd_text, pid_text, text, NULL},
         *environment[] = {value, NULL};
    if (round % 2)
      execve("/proc/self/exe", arguments, environment);
    else
      fexecve(OK(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), arguments, environment);
    _exit(1);
  }
  reap(pid, 55);
  OK(close(fd));
  OK(unlink(scratch("file")));
  mix_number(round);
}

PROBE(.round = each, .child = child)
