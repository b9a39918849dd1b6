/* /proc/self/fd, exe, cwd: links that name what is open, and a file that is opened again through one. */
#include <dirent.h>

#include "probe.h"

static int fd;

static void setup(void) { fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644)); }

static void each(unsigned round) {
  char link[64], target[4096], resolved[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = OK(readlink(link, target, sizeof target - 1));
  target[n] = 0;
  CHECK(realpath(scratch("file"), resolved) && strcmp(target, resolved) == 0);
  int again = OK(open(link, O_RDWR | O_APPEND));
  write_all(again, &round, sizeof round);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
  CHECK_EQ(lseek(fd, 0, SEEK_END), (long)(round * sizeof round));
  OK(lseek(fd, 0, SEEK_SET));
  OK(close(again));
  n = OK(readlink("/proc/self/exe", target, sizeof target - 1));
  CHECK(n > 0 && target[0] == '/');
  snprintf(link, sizeof link, "/proc/%d/cwd", getpid());
  OK(readlink(link, target, sizeof target));
  DIR* directory = opendir("/proc/self/fd");
  CHECK(directory);
  unsigned mine = 0;
  for (struct dirent* entry; (entry = readdir(directory));) mine += atoi(entry->d_name) == fd;
  CHECK_EQ(mine, 1);
  closedir(directory);
  mix_number(round);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
