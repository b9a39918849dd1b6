/* WNOHANG while children live, zombies that stay over a round, ignored children, waiting for any. */
#include "probe.h"

enum { kChildren = 5 };
static pid_t kept[kChildren];

static int exit_with(void* code) { return (int)(long)code; }

static void start_all(unsigned round) {
  for (long i = 0; i < kChildren; i++) kept[i] = start_child(exit_with, (void*)(i + round % 20));
}

static void setup(void) { start_all(1); }

static void each(unsigned round) {
  int release[2], sum = 0, status;
  for (int i = 0; i < kChildren; i++) { /* of the last round, in any order */
    pid_t pid;
    while ((pid = OK(waitpid(-1, &status, WNOHANG))) == 0) sleep_ms(1);
    bool known = false;
    for (int k = 0; k < kChildren; k++) known |= pid == kept[k];
    CHECK(known);
    sum += WEXITSTATUS(status);
  }
  FAILS(waitpid(-1, &status, WNOHANG), ECHILD);
  OK(pipe(release));
  pid_t pid = fork_limited();
  if (pid == 0) {
    char byte;
    read_all(release[0], &byte, 1);
    _exit(30);
  }
  CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
  write_all(release[1], "g", 1);
  reap(pid, 30);
  OK(close(release[0]));
  OK(close(release[1]));
  CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR); /* no zombies */
  pid = start_child(exit_with, (void*)3);
  FAILS(waitpid(pid, &status, 0), ECHILD); /* but it waits until there are none */
  CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
  mix_number(sum);
  start_all(round + 1);
}

static void finish(void) {
  for (int i = 0; i < kChildren; i++) (void)wait_status(kept[i]);
}

PROBE(.setup = setup, .round = each, .finish = finish)
