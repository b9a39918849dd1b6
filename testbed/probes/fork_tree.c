/* fork: copied memory, shared descriptions, children of children, pids that the parent is told. */
#include "probe.h"

static int kept;
static unsigned value;

static int grow(void* depth) {
  long level = (long)depth;
  value += level;
  if (level == 0) return 1;
  int sum = 0;
  for (int i = 0; i < 2; i++) {
    pid_t parent = getpid(), pid = fork_limited();
    if (pid == 0) {
      CHECK_EQ(getppid(), parent);
      _exit(grow((void*)(level - 1)));
    }
    int status = wait_status(pid);
    CHECK(WIFEXITED(status));
    sum += WEXITSTATUS(status);
  }
  return sum + 1;
}

static int write_shared(void* text) {
  value = 999;
  write_all(kept, text, strlen(text));
  return 0;
}

static void setup(void) { kept = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0600)); }

static void each(unsigned round) {
  value = round;
  pid_t pid = start_child(grow, (void*)3);
  note_number(pid);
  reap(pid, 15);
  reap(start_child(write_shared, "child "), 0);
  CHECK_EQ(value, round); /* its copy was changed, not ours */
  CHECK_EQ(lseek(kept, 0, SEEK_CUR), 6 * round); /* but the position is one */
  mix_number(round);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
