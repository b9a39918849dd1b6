/* O_TMPFILE: a file is made without a name, and gets one through /proc/self/fd. */
#include "probe.h"

static int kept = -1;

static void each(unsigned round) {
  char name[64], back[64] = "";
  int fd = open(probe.dir, O_TMPFILE | O_RDWR, 0644);
  if (fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR)) skip("no O_TMPFILE on this filesystem");
  OK(fd);
  write_all(fd, &round, sizeof round);
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  OK(linkat(AT_FDCWD, name, AT_FDCWD, scratch("named"), AT_SYMLINK_FOLLOW));
  OK(close(fd));
  fd = OK(open(scratch("named"), O_RDONLY));
  read_all(fd, back, sizeof round);
  CHECK(memcmp(back, &round, sizeof round) == 0);
  OK(close(fd));
  OK(unlink(scratch("named")));
  if (kept == -1) kept = OK(open(probe.dir, O_TMPFILE | O_RDWR | O_EXCL, 0600));
  CHECK_EQ(pwrite(kept, &round, sizeof round, sizeof round * (round - 1)), sizeof round);
  ssize_t n = OK(pread(kept, back, sizeof back, 0));
  mix(back, n);
}

PROBE(.round = each)
