/* copy_file_range, with positions of its own and with those of the descriptors. */
#include "probe.h"

static int from, to;

static void setup(void) {
  from = OK(open(scratch("from"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  to = OK(open(scratch("to"), O_RDWR | O_CREAT | O_TRUNC, 0644));
}

static void each(unsigned round) {
  char data[20000], back[20000];
  off_t in = 100, out = 50;
  fill(data, sizeof data, round);
  CHECK_EQ(pwrite(from, data, sizeof data, 0), 20000);
  ssize_t n = copy_file_range(from, &in, to, &out, 15000, 0);
  if (n == -1 && (errno == EXDEV || errno == EOPNOTSUPP)) skip("no copy_file_range here");
  CHECK_EQ(n, 15000);
  CHECK(in == 15100 && out == 15050);
  CHECK_EQ(pread(to, back, 15000, 50), 15000);
  CHECK(memcmp(back, data + 100, 15000) == 0);
  OK(lseek(from, 19000, SEEK_SET));
  OK(lseek(to, 0, SEEK_SET));
  CHECK_EQ(copy_file_range(from, NULL, to, NULL, 15000, 0), 1000);
  CHECK_EQ(lseek(to, 0, SEEK_CUR), 1000);
  CHECK_EQ(copy_file_range(from, NULL, to, NULL, 15000, 0), 0);
  CHECK_EQ(pread(to, back, 1000, 0), 1000);
  mix(back, 1000);
}

static void finish(void) {
  OK(unlink(scratch("from")));
  OK(unlink(scratch("to")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
