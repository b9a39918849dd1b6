/* stat, lstat, fstat, fstatat, statx, statfs, access, utimensat: facts about a file. */
#include <sys/statfs.h>

#include "probe.h"

static int fd;

static void setup(void) { fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0640)); }

static void each(unsigned round) {
  struct stat st, again;
  struct statx stx;
  struct statfs sfs;
  struct timespec times[2] = {{1000000000 + round, 5}, {1100000000 + round, 999999999}};
  OK(fchmod(fd, 0640));
  CHECK_EQ(pwrite(fd, "x", 1, round), 1);
  OK(utimensat(AT_FDCWD, scratch("file"), times, 0));
  OK(stat(scratch("file"), &st));
  CHECK_EQ(st.st_mode, S_IFREG | 0640);
  CHECK_EQ(st.st_size, round + 1);
  CHECK_EQ(st.st_atim.tv_sec, 1000000000 + round);
  CHECK_EQ(st.st_mtim.tv_nsec, 999999999);
  OK(fstat(fd, &again));
  CHECK(memcmp(&st, &again, sizeof st) == 0);
  OK(fstatat(fd, "", &again, AT_EMPTY_PATH));
  CHECK(memcmp(&st, &again, sizeof st) == 0);
  OK(statx(AT_FDCWD, scratch("file"), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx));
  CHECK_EQ(stx.stx_ino, st.st_ino);
  CHECK_EQ(stx.stx_mtime.tv_sec, st.st_mtim.tv_sec);
  OK(fstatfs(fd, &sfs));
  OK(access(scratch("file"), R_OK | W_OK));
  OK(faccessat(AT_FDCWD, scratch("file"), F_OK, AT_EACCESS));
  FAILS(access(scratch("none"), F_OK), ENOENT);
  FAILS(stat(scratch("file/x"), &st), ENOTDIR);
  note(&st, sizeof st);
  note(&sfs, sizeof sfs);
  mix_number(st.st_size);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
