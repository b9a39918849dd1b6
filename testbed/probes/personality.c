/* personality: read, changed, inherited by an exec. */
#include <sys/personality.h>

#include "probe.h"

static int child(int argc, char** argv) {
  (void)argc, (void)argv;
  return personality(0xffffffff) & ADDR_NO_RANDOMIZE ? 32 : 1;
}

static void each(unsigned round) {
  int old = (int)OK(personality(0xffffffff));
  note_number(old);
  if (personality(old | ADDR_NO_RANDOMIZE) == -1) skip("personality may not be changed");
  CHECK(personality(0xffffffff) & ADDR_NO_RANDOMIZE);
  pid_t pid = fork_limited();
  if (pid == 0) {
    execl("/proc/self/exe", program_invocation_name, "--child", (char*)NULL);
    _exit(1);
  }
  reap(pid, 32);
  OK(personality(old));
  CHECK_EQ(personality(0xffffffff), old);
  mix_number(round);
}

PROBE(.round = each, .child = child)
