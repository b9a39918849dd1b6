/* A private file mapping: reads follow the file until written to, writes stay in memory; SIGBUS beyond. */
#include <setjmp.h>

#include "probe.h"

static int fd;
static char* map;
static sigjmp_buf back;

static void on_bus(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  CHECK_EQ(info->si_code, BUS_ADRERR);
  siglongjmp(back, 1);
}

static void setup(void) {
  char block[4 * 4096];
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0600));
  fill(block, sizeof block, 1);
  write_all(fd, block, sizeof block);
  map = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(map != MAP_FAILED);
  set_handler(SIGBUS, on_bus, 0);
}

static void each(unsigned round) {
  char back_again[8];
  map[10] = (char)round; /* ours alone */
  CHECK_EQ(pread(fd, back_again, 8, 8), 8);
  map[4096 * 2 + round % 4096] = 'm';
  unsigned char first = round & 0xff;
  CHECK_EQ(pwrite(fd, &first, 1, 3 * 4096 + 7), 1);
  CHECK_EQ((unsigned char)map[3 * 4096 + 7], first); /* not yet written to */
  CHECK_EQ(pwrite(fd, "Z", 1, 11), 1);
  if (sigsetjmp(back, 1) == 0) {
    (void)*(volatile char*)(map + 6 * 4096);
    CHECK(false);
  }
  OK(msync(map, 4096, MS_SYNC));
  mix(back_again, 2);
  mix(map, 4 * 4096);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
