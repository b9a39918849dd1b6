/* mremap: larger in place or elsewhere, smaller, to an address, and one that leaves its pages. */
#include "probe.h"

static char* kept;
static size_t size;

static void setup(void) {
  size = 4 * 4096;
  kept = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(kept != MAP_FAILED);
  memset(kept, 1, size);
}

static void each(unsigned round) {
  kept = mremap(kept, size, size + 16 * 4096, MREMAP_MAYMOVE);
  CHECK(kept != MAP_FAILED);
  CHECK_EQ(kept[size], 0);
  memset(kept + size, (int)round, 16 * 4096);
  size += 16 * 4096;
  mix(kept, size);
  char* place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(place != MAP_FAILED);
  CHECK(mremap(kept, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
  kept = place;
  CHECK_EQ(kept[size - 1], (char)round);
  CHECK(mremap(kept, size, size - 8 * 4096, 0) == kept);
  size -= 8 * 4096;
  char* copy = mremap(kept, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
  if (copy != MAP_FAILED) {
    CHECK_EQ(copy[0], 1);
    CHECK_EQ(kept[0], 0);
    kept[0] = 1;
    memset(kept, 1, 4096);
    OK(munmap(copy, 4096));
  } else {
    CHECK_EQ(errno, EINVAL); /* before Linux 5.7 */
  }
  mix(kept, size);
}

PROBE(.setup = setup, .round = each)
