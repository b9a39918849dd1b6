/* mkdirat, openat, O_PATH, openat2, unlinkat relative to an open directory, also one that is gone. */
#include <linux/openat2.h>
#include <sys/syscall.h>

#include "probe.h"

static int top;

static void setup(void) { top = OK(open(probe.dir, O_RDONLY | O_DIRECTORY)); }

static void each(unsigned round) {
  struct stat st;
  OK(mkdirat(top, "one", 0755));
  int one = OK(openat(top, "one", O_PATH | O_DIRECTORY));
  OK(mkdirat(one, "two", 0700));
  int two = OK(openat(one, "two", O_RDONLY));
  int file = OK(openat(two, "file", O_RDWR | O_CREAT | O_EXCL, 0644));
  write_all(file, &round, sizeof round);
  OK(fstatat(top, "one/two/file", &st, 0));
  CHECK_EQ(st.st_size, sizeof round);
  FAILS(read(one, &st, 1), EBADF);
  FAILS(read(two, &st, 1), EISDIR);
  struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
  int beneath = syscall(SYS_openat2, one, "../one", &how, sizeof how);
  CHECK(beneath == -1 && (errno == EXDEV || errno == ENOSYS || errno == EPERM));
  FAILS(unlinkat(top, "one", AT_REMOVEDIR), ENOTEMPTY);
  FAILS(unlinkat(one, "two", 0), EISDIR);
  OK(unlinkat(two, "file", 0));
  OK(unlinkat(one, "two", AT_REMOVEDIR));
  FAILS(openat(two, "file", O_RDWR | O_CREAT, 0644), ENOENT);
  OK(unlinkat(top, "one", AT_REMOVEDIR));
  mix_number(OK(pread(file, &round, sizeof round, 0)) + round);
  OK(close(file));
  OK(close(two));
  OK(close(one));
}

PROBE(.setup = setup, .round = each)
