/* Extended attributes of the user name space, by path and by descriptor. */
#include <sys/xattr.h>

#include "probe.h"

static int fd;

static void setup(void) {
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  if (setxattr(scratch("file"), "user.kept", "kept", 4, XATTR_CREATE) == -1) {
    if (errno == EOPNOTSUPP) skip("no user xattrs on this filesystem");
    OK(-1);
  }
}

static void each(unsigned round) {
  char value[64], back[64] = "", list[256];
  int length = snprintf(value, sizeof value, "value of round %u", round);
  OK(fsetxattr(fd, "user.round", value, length, 0));
  FAILS(fsetxattr(fd, "user.kept", "x", 1, XATTR_CREATE), EEXIST);
  CHECK_EQ(getxattr(scratch("file"), "user.round", back, sizeof back), length);
  CHECK(strcmp(value, back) == 0);
  CHECK_EQ(getxattr(scratch("file"), "user.round", NULL, 0), length);
  FAILS(getxattr(scratch("file"), "user.round", back, 3), ERANGE);
  CHECK_EQ(fgetxattr(fd, "user.kept", back, sizeof back), 4);
  int names = 0;
  ssize_t n = OK(flistxattr(fd, list, sizeof list));
  for (char* name = list; name < list + n; name += strlen(name) + 1)
    names += !strncmp(name, "user.", 5);
  CHECK_EQ(names, 2);
  OK(lremovexattr(scratch("file"), "user.round"));
  FAILS(fgetxattr(fd, "user.round", back, sizeof back), ENODATA);
  mix_text(value);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
