/* chdir, fchdir, getcwd; the working directory stays from round to round, and may be gone. */
#include "probe.h"

static char home[4096];
static int before;

static void setup(void) {
  before = OK(open(".", O_RDONLY | O_DIRECTORY));
  OK(chdir(probe.dir));
  CHECK(getcwd(home, sizeof home));
}

static void each(unsigned round) {
  char name[64], now[4096], expected[4200];
  snprintf(name, sizeof name, "down-%u", round);
  OK(mkdir(name, 0755));
  OK(chdir(name));
  snprintf(expected, sizeof expected, "%s/%s", home, name);
  CHECK(getcwd(now, sizeof now) && strcmp(now, expected) == 0);
  CHECK(!getcwd(now, 3) && errno == ERANGE);
  OK(rmdir(expected));
  CHECK(!getcwd(now, sizeof now) && errno == ENOENT);
  int gone = OK(open(".", O_RDONLY));
  OK(chdir(home));
  OK(fchdir(gone));
  FAILS(open("file", O_WRONLY | O_CREAT, 0644), ENOENT);
  OK(close(gone));
  OK(chdir(home));
  CHECK(getcwd(now, sizeof now) && strcmp(now, home) == 0);
  mix_text(name);
}

static void finish(void) { OK(fchdir(before)); }

PROBE(.setup = setup, .round = each, .finish = finish)
