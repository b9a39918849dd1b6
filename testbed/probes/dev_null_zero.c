/* /dev/null, /dev/zero and /dev/full: reads, writes and a private mapping of zeroes. */
#include "probe.h"

static int null, zero, full;

static void setup(void) {
  null = OK(open("/dev/null", O_RDWR));
  zero = OK(open("/dev/zero", O_RDWR));
  full = OK(open("/dev/full", O_RDWR));
}

static void each(unsigned round) {
  char data[5000];
  fill(data, sizeof data, round);
  CHECK_EQ(write(null, data, sizeof data), 5000);
  CHECK_EQ(read(null, data, sizeof data), 0);
  CHECK_EQ(read(zero, data, sizeof data), 5000);
  for (unsigned i = 0; i < sizeof data; i++) CHECK_EQ(data[i], 0);
  CHECK_EQ(write(zero, data, sizeof data), 5000);
  FAILS(write(full, data, 1), ENOSPC);
  data[10] = 1;
  CHECK_EQ(read(full, data, 100), 100);
  CHECK_EQ(data[10], 0);
  char* map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
  CHECK(map != MAP_FAILED && map[5000] == 0);
  map[0] = round;
  mix(map, 8192);
  OK(munmap(map, 8192));
}

PROBE(.setup = setup, .round = each)
