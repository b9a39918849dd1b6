/* umask, chmod, fchmodat, chown: what a new file gets and what can be changed. */
#include "probe.h"

static mode_t mode_of(const char* name) {
  struct stat st;
  OK(stat(name, &st));
  return st.st_mode & 07777;
}

static void setup(void) { umask(027); }

static void each(unsigned round) {
  struct stat st;
  mode_t mask = round % 2 ? 077 : 027, expected = round % 2 ? 027 : 077;
  CHECK_EQ(umask(mask), round == 1 ? 027 : expected);
  OK(close(OK(open(scratch("file"), O_WRONLY | O_CREAT, 0666))));
  CHECK_EQ(mode_of(scratch("file")), 0666 & ~mask);
  OK(mkdir(scratch("dir"), 0777));
  CHECK_EQ(mode_of(scratch("dir")), 0777 & ~mask);
  OK(mkfifo(scratch("fifo"), 0666));
  CHECK_EQ(mode_of(scratch("fifo")), 0666 & ~mask);
  OK(chmod(scratch("file"), 04751));
  CHECK_EQ(mode_of(scratch("file")), 04751);
  if (geteuid() == 0) {
    OK(chown(scratch("file"), 12, 34));
    CHECK_EQ(mode_of(scratch("file")), 0751); /* chown drops the set-user-id bit */
    OK(fchownat(AT_FDCWD, scratch("file"), -1, 56, AT_SYMLINK_NOFOLLOW));
    OK(stat(scratch("file"), &st));
    CHECK(st.st_uid == 12 && st.st_gid == 56);
  }
  OK(fchmodat(AT_FDCWD, scratch("file"), 0600 + round % 8, 0));
  mix_number(mode_of(scratch("file")));
  OK(unlink(scratch("file")));
  OK(unlink(scratch("fifo")));
  OK(rmdir(scratch("dir")));
}

PROBE(.setup = setup, .round = each)
