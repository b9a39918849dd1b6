/* SIGSTOP, SIGTSTP and SIGCONT: a child stands still, goes on, and has a handler for that. */
#include "probe.h"

enum { kCount, kContinued, kOver };
static volatile unsigned* shared;

static void on_continue(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  shared[kContinued]++;
}

static int count_up(void* argument) {
  (void)argument;
  set_handler(SIGCONT, on_continue, SA_RESTART);
  while (!shared[kOver]) {
    shared[kCount]++;
    sleep_ms(1);
  }
  return 18;
}

static void each(unsigned round) {
  const int stops[2] = {SIGSTOP, SIGTSTP};
  int status;
  shared[kCount] = shared[kContinued] = shared[kOver] = 0;
  pid_t pid = start_child(count_up, NULL);
  OK(setpgid(pid, pid)); /* SIGTSTP does not stop the members of an orphaned group */
  while (shared[kCount] == 0) sleep_ms(1);
  for (unsigned i = 0; i < 2; i++) {
    OK(kill(pid, stops[i]));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == stops[i]);
    unsigned stopped_at = shared[kCount];
    sleep_ms(3);
    CHECK_EQ(shared[kCount], stopped_at);
    OK(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
    CHECK(WIFCONTINUED(status));
    while (shared[kContinued] == i) sleep_ms(1); /* the next stop would take it from the queue */
  }
  shared[kOver] = 1;
  reap(pid, 18);
  note_number(shared[kCount]);
  mix_number(round);
}

static void setup(void) {
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
}

PROBE(.setup = setup, .round = each)
