/* madvise: DONTNEED empties, WILLNEED and others keep, DONTFORK and WIPEONFORK show in a child. */
#include "probe.h"

static char* pages;

static int see_wiped(void* argument) {
  (void)argument;
  return pages[0] == 'k' && pages[2 * 4096] == 0 ? 7 : 1;
}

static void setup(void) {
  pages = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
}

static void each(unsigned round) {
  memset(pages, 'k', 8 * 4096);
  OK(madvise(pages + 4096, 4096, MADV_DONTNEED));
  CHECK_EQ(pages[4096], 0);
  CHECK_EQ(pages[4095], 'k');
  OK(madvise(pages + 2 * 4096, 4096, MADV_WIPEONFORK));
  OK(madvise(pages + 3 * 4096, 4096, MADV_DONTFORK));
  reap(start_child(see_wiped, NULL), 7);
  OK(madvise(pages + 2 * 4096, 4096, MADV_KEEPONFORK));
  OK(madvise(pages + 3 * 4096, 4096, MADV_DOFORK));
  CHECK_EQ(pages[2 * 4096], 'k');
  const int kept[] = {MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP};
  for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++) OK(madvise(pages, 8 * 4096, kept[i]));
  (void)madvise(pages, 8 * 4096, MADV_NOHUGEPAGE); /* not in every kernel */
  (void)madvise(pages, 8 * 4096, MADV_MERGEABLE);
  CHECK_EQ(pages[7 * 4096], 'k');
  FAILS(madvise(pages + 1, 4096, MADV_NORMAL), EINVAL);
  pages[4096] = (char)round;
  mix(pages, 8 * 4096);
}

PROBE(.setup = setup, .round = each)
