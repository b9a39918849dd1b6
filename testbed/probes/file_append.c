/* O_APPEND: two descriptions of one file each write at its end, wherever their position is. */
#include "probe.h"

static int appending, plain;

static void setup(void) {
  plain = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  appending = OK(open(scratch("file"), O_RDWR | O_APPEND));
}

static void each(unsigned round) {
  char text[32], all[64];
  off_t before = OK(lseek(plain, 0, SEEK_END));
  CHECK_EQ(write(plain, "plain;", 6), 6);
  OK(lseek(appending, 0, SEEK_SET));
  int length = snprintf(text, sizeof text, "append %u;", round);
  CHECK_EQ(write(appending, text, length), length);
  CHECK_EQ(lseek(appending, 0, SEEK_CUR), before + 6 + length);
  CHECK_EQ(pread(plain, all, sizeof all, before), 6 + length);
  CHECK(memcmp(all + 6, text, length) == 0);
  mix(all, 6 + length);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
