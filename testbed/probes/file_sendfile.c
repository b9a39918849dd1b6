/* sendfile from a file to a file, a pipe and a socket. */
#include <sys/sendfile.h>

#include "probe.h"

static int file;

static void setup(void) { file = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void each(unsigned round) {
  char data[30000], back[30000];
  int fds[2];
  off_t position = 10000;
  fill(data, sizeof data, round);
  CHECK_EQ(pwrite(file, data, sizeof data, 0), 30000);
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  CHECK_EQ(sendfile(fds[0], file, &position, 12000), 12000);
  CHECK_EQ(position, 22000);
  read_all(fds[1], back, 12000);
  CHECK(memcmp(back, data + 10000, 12000) == 0);
  OK(close(fds[0]));
  OK(close(fds[1]));
  OK(pipe(fds));
  OK(lseek(file, 29000, SEEK_SET));
  CHECK_EQ(sendfile(fds[1], file, NULL, 5000), 1000);
  read_all(fds[0], back, 1000);
  CHECK(memcmp(back, data + 29000, 1000) == 0);
  int copy = OK(open(scratch("copy"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  position = 0;
  CHECK_EQ(sendfile(copy, file, &position, 30000), 30000);
  CHECK_EQ(pread(copy, back, 30000, 0), 30000);
  CHECK(memcmp(back, data, 30000) == 0);
  mix(back, sizeof back);
  for (int i = 0; i < 2; i++) OK(close(fds[i]));
  OK(close(copy));
  OK(unlink(scratch("copy")));
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
