/* A shared file mapping: memory and file are one, between processes too; msync; a file that grows. */
#include "probe.h"

static int fd;
static char* map;

static int write_there(void* number) {
  char* own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
  CHECK(own != MAP_FAILED);
  own[50] = (char)(long)number;
  map[51] = (char)(long)number;
  return 0;
}

static void setup(void) {
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0600));
  OK(ftruncate(fd, 4 * 4096));
  map = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
}

static void each(unsigned round) {
  char back[100];
  fill(map + 100, 100, round);
  CHECK_EQ(pread(fd, back, 100, 100), 100);
  CHECK(memcmp(back, map + 100, 100) == 0);
  CHECK_EQ(pwrite(fd, "through", 7, 4096 * 2), 7);
  CHECK(memcmp(map + 4096 * 2, "through", 7) == 0);
  reap(start_child(write_there, (void*)(long)round), 0);
  CHECK_EQ(map[4096 + 50], (char)round);
  CHECK_EQ(map[51], (char)round);
  OK(msync(map, 4 * 4096, MS_SYNC));
  OK(msync(map, 4096, MS_ASYNC));
  OK(ftruncate(fd, (4 + round % 60) * 4096));
  map[(3 + round % 60) * 4096] = 'e'; /* in what was added */
  CHECK_EQ(pread(fd, back, 1, (3 + round % 60) * 4096), 1);
  CHECK_EQ(back[0], 'e');
  mix(map, 4 * 4096);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
