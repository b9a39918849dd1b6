/* vfork and posix_spawn: the child borrows the memory of the parent, which waits, until it executes. */
#include <spawn.h>

#include "probe.h"

extern char** environ;
static volatile int left_behind;

static int child(int argc, char** argv) {
  CHECK(argc >= 3);
  return atoi(argv[2]);
}

static void each(unsigned round) {
  char number[16];
  snprintf(number, sizeof number, "%u", round % 50 + 1);
  char* arguments[] = {program_invocation_name, "--child", number, NULL};
  left_behind = 0;
  pid_t pid = OK(vfork());
  if (pid == 0) {
    left_behind = 5; /* seen by the parent */
    execv("/proc/self/exe", arguments);
    _exit(1);
  }
  CHECK_EQ(left_behind, 5);
  reap(pid, round % 50 + 1);
  pid = OK(vfork());
  if (pid == 0) _exit(9);
  reap(pid, 9);
  posix_spawn_file_actions_t actions;
  ZERO(posix_spawn_file_actions_init(&actions));
  ZERO(posix_spawn_file_actions_addopen(&actions, 7, "/dev/null", O_RDONLY, 0));
  ZERO(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ));
  ZERO(posix_spawn_file_actions_destroy(&actions));
  reap(pid, round % 50 + 1);
  CHECK_EQ(posix_spawn(&pid, "/does/not/exist", NULL, NULL, arguments, environ), ENOENT);
  FAILS(execv("/does/not/exist", arguments), ENOENT);
  mix_number(left_behind);
}

PROBE(.round = each, .child = child)
