/* Anonymous mappings: at an address, over another one, in part unmapped, PROT_NONE; large and sparse. */
#include "probe.h"

static char* kept;
static const size_t kSize = 64 << 20; /* of which little is touched */

static void setup(void) {
  kept = mmap(NULL, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(kept != MAP_FAILED);
}

static char* map_at(void* address, size_t size, int protection, int flags) {
  char* got = mmap(address, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  CHECK(got != MAP_FAILED);
  return got;
}

static void each(unsigned round) {
  size_t at = round * 1000003u % kSize / 4096 * 4096;
  fill(kept + at, 4096, round);
  CHECK_EQ(kept[(at + kSize / 2) % kSize + 5], 0);
  char* area = map_at(NULL, 8 * 4096, PROT_READ | PROT_WRITE, 0);
  memset(area, 'a', 8 * 4096);
  char* hole = map_at(area + 2 * 4096, 4096, PROT_READ | PROT_WRITE, MAP_FIXED);
  CHECK(hole == area + 2 * 4096);
  CHECK_EQ(hole[7], 0);
  OK(munmap(area + 4 * 4096, 2 * 4096));
  CHECK(map_at(area + 4 * 4096, 4096, PROT_NONE, MAP_FIXED_NOREPLACE) == area + 4 * 4096);
  errno = 0;
  CHECK(mmap(area, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
  CHECK_EQ(errno, EEXIST);
  int fds[2];
  OK(pipe(fds));
  FAILS(write(fds[1], area + 4 * 4096, 1), EFAULT); /* nobody may read there */
  write_all(fds[1], area, 10);
  FAILS(read(fds[0], area + 4 * 4096, 5), EFAULT);
  OK(close(fds[0]));
  OK(close(fds[1]));
  mix(area, 2 * 4096);
  OK(munmap(area, 8 * 4096));
  FAILS(munmap(area + 1, 4096), EINVAL);
  mix(kept + at, 4096);
}

PROBE(.setup = setup, .round = each)
