/* shm_open: shared memory with a name, opened again by a child that has executed; unlinked and kept. */
#include "probe.h"

static char* map;
static int fd;
static char name[128];

static int child(int argc, char** argv) {
  CHECK_EQ(argc, 4);
  int own = OK(shm_open(argv[2], O_RDWR, 0));
  char* area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
  CHECK(area != MAP_FAILED);
  CHECK(strcmp(area, "from the parent") == 0);
  strcpy(area + 100, argv[3]);
  return 16;
}

static void setup(void) {
  snprintf(name, sizeof name, "%s", unique_name("/"));
  shm_unlink(name);
  fd = OK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
  OK(ftruncate(fd, 4096));
  map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED);
}

static void each(unsigned round) {
  char number[32];
  snprintf(number, sizeof number, "round %u", round);
  strcpy(map, "from the parent");
  pid_t pid = fork_limited();
  if (pid == 0) {
    execl("/proc/self/exe", program_invocation_name, "--child", name, number, (char*)NULL);
    _exit(1);
  }
  reap(pid, 16);
  CHECK(strcmp(map + 100, number) == 0);
  struct stat st;
  OK(fstat(fd, &st));
  CHECK_EQ(st.st_size, 4096);
  FAILS(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
  int unnamed = OK(shm_open(unique_name("/unnamed-"), O_RDWR | O_CREAT, 0600));
  OK(shm_unlink(unique_name("/unnamed-")));
  write_all(unnamed, "abc", 3);
  OK(fstat(unnamed, &st));
  CHECK_EQ(st.st_nlink, 0);
  OK(close(unnamed));
  mix(map, 4096);
}

static void finish(void) { OK(shm_unlink(name)); }

PROBE(.setup = setup, .round = each, .finish = finish, .child = child)
