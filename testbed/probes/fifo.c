/* A named pipe: opened without blocking, by two processes that wait for each other, held open. */
#include "probe.h"

static int both;

static int answer(void* name) {
  int fd = OK(open(name, O_WRONLY)); /* blocks until the parent reads */
  write_all(fd, "from the child", 14);
  return 14;
}

static void setup(void) {
  OK(mkfifo(scratch("kept"), 0600));
  both = OK(open(scratch("kept"), O_RDWR));
  write_all(both, "0", 1);
}

static void each(unsigned round) {
  char back[64] = "", digit = '0' + round % 10;
  OK(mkfifo(scratch("fifo"), 0600));
  FAILS(open(scratch("fifo"), O_WRONLY | O_NONBLOCK), ENXIO);
  pid_t pid = start_child(answer, (void*)scratch("fifo"));
  int fd = OK(open(scratch("fifo"), O_RDONLY));
  read_all(fd, back, 14);
  reap(pid, 14);
  CHECK_EQ(read(fd, back + 14, 1), 0);
  OK(close(fd));
  mix_text(back);
  write_all(both, &digit, 1);
  read_all(both, back, 1);
  CHECK_EQ(back[0], '0' + (round - 1) % 10);
  OK(unlink(scratch("fifo")));
}

static void finish(void) { OK(unlink(scratch("kept"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
