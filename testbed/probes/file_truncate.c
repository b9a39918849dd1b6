/* truncate and ftruncate: what is cut is gone, what is added is zero, also in a mapping. */
#include "probe.h"

static int fd;

static void setup(void) { fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void each(unsigned round) {
  char data[9000], back[9000];
  struct stat st;
  fill(data, sizeof data, round);
  CHECK_EQ(pwrite(fd, data, sizeof data, 0), 9000);
  char* map = mmap(NULL, 12288, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
  CHECK(map[8999] == data[8999]);
  OK(truncate(scratch("file"), 5000 + round));
  CHECK(map[5000 + round] == 0);
  OK(ftruncate(fd, 9000));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 9000);
  CHECK_EQ(pread(fd, back, sizeof back, 0), 9000);
  CHECK(memcmp(back, data, 5000 + round) == 0);
  for (unsigned i = 5000 + round; i < 9000; i++) CHECK_EQ(back[i], 0);
  mix(back, sizeof back);
  OK(munmap(map, 12288));
  FAILS(ftruncate(fd, -1), EINVAL);
}

static void finish(void) {
  OK(close(fd));
  OK(unlink(scratch("file")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
