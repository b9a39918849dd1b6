/* vmsplice: memory is put into a pipe, and read out of one into memory. */
#include <sys/uio.h>

#include "probe.h"

static int fds[2];

static void setup(void) { OK(pipe(fds)); }

static void each(unsigned round) {
  static char pages[2][4096] __attribute__((aligned(4096)));
  char back[8192] = "";
  fill(pages, sizeof pages, round);
  struct iovec out[] = {{pages[0], 4096}, {pages[1], 1000}};
  CHECK_EQ(vmsplice(fds[1], out, 2, 0), 5096);
  read_all(fds[0], back, 5096);
  CHECK(memcmp(back, pages, 5096) == 0);
  write_all(fds[1], "into memory", 11);
  memset(back, 0, sizeof back);
  struct iovec in[] = {{back, 4}, {back + 100, 20}};
  CHECK_EQ(vmsplice(fds[0], in, 2, 0), 11);
  CHECK(memcmp(back, "into", 4) == 0 && strcmp(back + 100, " memory") == 0);
  mix(pages, sizeof pages);
}

PROBE(.setup = setup, .round = each)
