/* A directory with a thousand files: getdents64 in small and large pieces, a position to return to. */
#include <dirent.h>

#include "probe.h"

enum { kFiles = 1000 };
static DIR* kept;

static void setup(void) {
  for (unsigned i = 0; i < kFiles; i++)
    OK(close(OK(open(scratch("a-file-with-a-long-name-%u", i), O_WRONLY | O_CREAT, 0644))));
  CHECK(kept = opendir(probe.dir));
}

static void count(DIR* directory, uint64_t* sum, unsigned* files) {
  struct dirent* entry;
  for (*sum = *files = 0; (entry = readdir(directory));) {
    if (entry->d_name[0] == '.') continue;
    CHECK(entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN);
    *sum += fnv(1, entry->d_name, strlen(entry->d_name)); /* in any order */
    note_number(entry->d_ino);
    note(entry->d_name, strlen(entry->d_name));
    ++*files;
  }
}

static void each(unsigned round) {
  uint64_t sum, again;
  unsigned files;
  char small[64];
  rewinddir(kept);
  count(kept, &sum, &files);
  CHECK_EQ(files, kFiles + round - 1);
  mix_number(sum);
  rewinddir(kept);
  for (int i = 0; i < 100; i++) CHECK(readdir(kept));
  long position = telldir(kept);
  struct dirent* next = readdir(kept);
  CHECK(next);
  snprintf(small, sizeof small, "%s", next->d_name);
  count(kept, &again, &files);
  seekdir(kept, position);
  CHECK(strcmp(readdir(kept)->d_name, small) == 0);
  OK(close(OK(open(scratch("added-%u", round), O_WRONLY | O_CREAT, 0644))));
}

static void finish(void) {
  struct dirent* entry;
  rewinddir(kept);
  while ((entry = readdir(kept)))
    if (entry->d_name[0] != '.') OK(unlinkat(dirfd(kept), entry->d_name, 0));
}

PROBE(.setup = setup, .round = each, .finish = finish)
