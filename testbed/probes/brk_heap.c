/* brk and sbrk, up and down, beside an allocator that uses them; the heap grows over the rounds. */
#include "probe.h"

static char* grown[64];

static void each(unsigned round) {
  char* before = sbrk(0);
  char* area = sbrk(3 * 4096 + 100);
  CHECK(area == before);
  CHECK_EQ(area[3 * 4096], 0);
  fill(area, 3 * 4096, round);
  mix(area, 3 * 4096);
  OK(brk(before));
  CHECK(sbrk(0) == before);
  char* again = sbrk(4096);
  CHECK_EQ(again[200], 0); /* what was given back comes fresh */
  grown[round % 64] = malloc(20000 + round); /* above it */
  CHECK(grown[round % 64] != NULL);
  fill(grown[round % 64], 20000, round);
  mix(grown[round % 64], 20000);
  char* moved = realloc(malloc(100), 300000);
  memset(moved, 7, 300000);
  free(moved);
}

PROBE(.round = each)
