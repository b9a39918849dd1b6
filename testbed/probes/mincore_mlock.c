/* mincore tells which pages are there; mlock, mlock2, munlock, mlockall within the limit. */
#include <sys/resource.h>

#include "probe.h"

enum { kPages = 10 };
static char* pages;

static void setup(void) {
  struct rlimit limit;
  OK(getrlimit(RLIMIT_MEMLOCK, &limit));
  if (limit.rlim_cur < kPages * 4096) skip("RLIMIT_MEMLOCK is too small");
  pages = mmap(NULL, kPages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages != MAP_FAILED);
}

static void each(unsigned round) {
  unsigned char there[kPages];
  char text[8192];
  OK(madvise(pages, kPages * 4096, MADV_DONTNEED));
  pages[3 * 4096] = 1;
  pages[7 * 4096] = 1;
  OK(mincore(pages, kPages * 4096, there));
  for (int i = 0; i < kPages; i++) {
    if (i == 3 || i == 7) CHECK(there[i] & 1);
    note_number(there[i] & 1); /* a huge page has them all */
  }
  OK(mlock(pages, 4 * 4096));
  OK(mincore(pages, 4 * 4096, there));
  for (int i = 0; i < 4; i++) CHECK(there[i] & 1);
  OK(mlock2(pages + 5 * 4096, 4096, MLOCK_ONFAULT));
  read_text("/proc/self/status", text, sizeof text);
  const char* locked = strstr(text, "VmLck:");
  CHECK(locked && atoi(locked + 6) == 20);
  OK(munlock(pages, kPages * 4096));
  if (mlockall(MCL_FUTURE) == 0) OK(munlockall());
  FAILS(mincore(pages + 1, 4096, there), EINVAL);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
