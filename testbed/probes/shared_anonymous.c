/* Shared anonymous memory between processes: written by both, with a futex in it, kept over rounds. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "probe.h"

struct area {
  uint32_t turn;
  uint32_t count;
  char text[4000];
};
static struct area* area;

static void await_turn(uint32_t mine) {
  uint32_t now;
  while ((now = __atomic_load_n(&area->turn, __ATOMIC_ACQUIRE)) != mine)
    if (syscall(SYS_futex, &area->turn, FUTEX_WAIT, now, NULL, NULL, 0) == -1)
      CHECK(errno == EAGAIN || errno == EINTR);
}

static void pass_turn(uint32_t next) {
  __atomic_store_n(&area->turn, next, __ATOMIC_RELEASE);
  OK(syscall(SYS_futex, &area->turn, FUTEX_WAKE, 10, NULL, NULL, 0));
}

static int play(void* argument) {
  (void)argument;
  for (int i = 0; i < 10; i++) {
    await_turn(1);
    area->text[area->count++ % sizeof area->text] = 'c';
    pass_turn(0);
  }
  return 21;
}

static void setup(void) {
  area = mmap(NULL, sizeof *area, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(area != MAP_FAILED);
}

static void each(unsigned round) {
  pid_t pid = start_child(play, NULL);
  for (int i = 0; i < 10; i++) {
    await_turn(0);
    area->text[area->count++ % sizeof area->text] = 'p';
    pass_turn(1);
  }
  reap(pid, 21);
  CHECK_EQ(area->count, 20 * round);
  mix(area, sizeof *area);
}

PROBE(.setup = setup, .round = each)
