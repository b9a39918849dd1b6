/* rename over an open file, which stays readable; renameat2 without replacing; a directory. */
#include "probe.h"

static int previous = -1;

static int file_with(const char* name, unsigned content) {
  int fd = OK(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
  CHECK_EQ(write(fd, &content, sizeof content), sizeof content);
  return fd;
}

static void each(unsigned round) {
  unsigned content = 0;
  int fd = file_with(scratch("new"), round);
  if (previous >= 0) FAILS(renameat2(AT_FDCWD, scratch("new"), AT_FDCWD, scratch("name"), 1), EEXIST);
  OK(rename(scratch("new"), scratch("name")));
  if (previous >= 0) { /* has been replaced, and is there without a name */
    struct stat st;
    CHECK_EQ(pread(previous, &content, sizeof content, 0), sizeof content);
    CHECK_EQ(content, round - 1);
    OK(fstat(previous, &st));
    CHECK_EQ(st.st_nlink, 0);
    OK(close(previous));
  }
  previous = fd;
  OK(mkdir(scratch("directory"), 0755));
  OK(close(file_with(scratch("directory/inside"), 7)));
  /* overlayfs may refuse to rename a directory that a lower layer has, not a new one. */
  OK(rename(scratch("directory"), scratch("other")));
  OK(access(scratch("other/inside"), F_OK));
  OK(unlink(scratch("other/inside")));
  FAILS(rename(scratch("other"), scratch("other/x")), EINVAL);
  OK(rmdir(scratch("other")));
  FAILS(rename(scratch("gone"), scratch("x")), ENOENT);
  mix_number(content);
}

static void finish(void) { OK(unlink(scratch("name"))); }

PROBE(.round = each, .finish = finish)
