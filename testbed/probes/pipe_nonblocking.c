/* A non-blocking pipe: empty, full, resized, and O_DIRECT packets. */
#include "probe.h"

static int fds[2];

static void setup(void) {
  OK(pipe2(fds, O_NONBLOCK | O_CLOEXEC));
  OK(fcntl(fds[1], F_SETPIPE_SZ, 65536));
}

static void each(unsigned round) {
  char block[4096], back[4096];
  FAILS(read(fds[0], back, 1), EAGAIN);
  CHECK_EQ(fcntl(fds[1], F_GETPIPE_SZ), 65536);
  fill(block, sizeof block, round);
  unsigned blocks = 0;
  while (write(fds[1], block, sizeof block) == sizeof block) blocks++;
  CHECK_EQ(errno, EAGAIN);
  CHECK_EQ(blocks, 16);
  FAILS(fcntl(fds[1], F_SETPIPE_SZ, 4096), EBUSY);
  for (unsigned i = 0; i < blocks; i++) read_all(fds[0], back, sizeof back);
  CHECK(memcmp(block, back, sizeof back) == 0);
  FAILS(read(fds[0], back, 1), EAGAIN);
  int packets[2];
  OK(pipe2(packets, O_DIRECT));
  write_all(packets[1], "one", 3);
  write_all(packets[1], "three", 5);
  CHECK_EQ(read(packets[0], back, sizeof back), 3);
  CHECK_EQ(read(packets[0], back, 2), 2); /* the rest of a packet is lost */
  write_all(packets[1], "x", 1);
  CHECK_EQ(read(packets[0], back, sizeof back), 1);
  OK(close(packets[0]));
  OK(close(packets[1]));
  mix(block, sizeof block);
}

PROBE(.setup = setup, .round = each)
