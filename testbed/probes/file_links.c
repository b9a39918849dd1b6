/* Hard and symbolic links: link, linkat, symlink, readlink, O_NOFOLLOW, loops. */
#include "probe.h"

static void each(unsigned round) {
  char target[64], back[64] = "";
  struct stat st;
  int fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  OK(link(scratch("file"), scratch("hard")));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 2);
  snprintf(target, sizeof target, "file-%u", round);
  OK(symlink(target, scratch("soft")));
  CHECK_EQ(readlink(scratch("soft"), back, sizeof back), (long)strlen(target));
  CHECK(strcmp(back, target) == 0);
  CHECK_EQ(readlink(scratch("soft"), back, 3), 3);
  FAILS(open(scratch("soft"), O_RDONLY), ENOENT);
  FAILS(open(scratch("soft"), O_RDONLY | O_NOFOLLOW), ELOOP);
  OK(lstat(scratch("soft"), &st));
  CHECK(S_ISLNK(st.st_mode));
  CHECK_EQ(st.st_size, (long)strlen(target));
  OK(symlink("loop", scratch("loop")));
  FAILS(stat(scratch("loop"), &st), ELOOP);
  FAILS(link(scratch("file"), scratch("hard")), EEXIST);
  OK(symlink("hard", scratch("to-hard")));
  OK(linkat(AT_FDCWD, scratch("to-hard"), AT_FDCWD, scratch("third"), AT_SYMLINK_FOLLOW));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 3);
  const char* names[] = {"file", "hard", "soft", "loop", "to-hard", "third"};
  for (int i = 0; i < 6; i++) OK(unlink(scratch("%s", names[i])));
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_nlink, 0);
  OK(close(fd));
  mix_text(target);
}

PROBE(.round = each)
