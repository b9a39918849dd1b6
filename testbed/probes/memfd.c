/* memfd_create: a file without a filesystem, sealed step by step, mapped and kept. */
#include "probe.h"

static int fd;
static char* map;

static void setup(void) {
  fd = OK(memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  OK(ftruncate(fd, 65536));
  map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
}

static void each(unsigned round) {
  char back[100], link[64], name[64] = "";
  fill(map + round * 100, 100, round);
  CHECK_EQ(pread(fd, back, 100, round * 100), 100);
  CHECK(memcmp(back, map + round * 100, 100) == 0);
  CHECK_EQ(pwrite(fd, "written", 7, 0), 7);
  CHECK(memcmp(map, "written", 7) == 0);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  OK(readlink(link, name, sizeof name));
  CHECK(strncmp(name, "/memfd:probe", 12) == 0);
  OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | (round > 1 ? F_SEAL_GROW : 0)));
  FAILS(ftruncate(fd, 1), EPERM);
  FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
  mix_number(fcntl(fd, F_GET_SEALS));
  mix(map, 65536);
}

PROBE(.setup = setup, .round = each)
