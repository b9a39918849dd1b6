/* splice from a file into a pipe and on to a socket; tee copies what stays in the pipe. */
#include "probe.h"

static int file, a[2], b[2], sockets[2];

static void setup(void) {
  file = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  OK(pipe(a));
  OK(pipe(b));
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
}

static void each(unsigned round) {
  char data[10000], back[10000];
  off_t position = 1000;
  fill(data, sizeof data, round);
  CHECK_EQ(pwrite(file, data, sizeof data, 0), 10000);
  ssize_t n = OK(splice(file, &position, a[1], NULL, 8000, 0));
  CHECK(n > 0 && position == 1000 + n);
  CHECK_EQ(tee(a[0], b[1], 8000, 0), n);
  read_all(a[0], back, n);
  CHECK(memcmp(back, data + 1000, n) == 0);
  CHECK_EQ(splice(b[0], NULL, sockets[0], NULL, n, SPLICE_F_MOVE), n);
  memset(back, 0, sizeof back);
  read_all(sockets[1], back, n);
  CHECK(memcmp(back, data + 1000, n) == 0);
  write_all(sockets[0], data, 3000);
  CHECK_EQ(splice(sockets[1], NULL, a[1], NULL, 3000, 0), 3000);
  position = 20000;
  CHECK_EQ(splice(a[0], NULL, file, &position, 3000, 0), 3000);
  CHECK_EQ(pread(file, back, 3000, 20000), 3000);
  CHECK(memcmp(back, data, 3000) == 0);
  FAILS(splice(a[0], NULL, b[1], NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
  mix(back, 3000);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
