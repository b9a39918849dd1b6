/* Limits: read, set, inherited, and what happens at them: descriptors, file size, address space. */
#include <sys/resource.h>

#include "probe.h"

static volatile sig_atomic_t signals;

static void on_size(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  signals++;
}

static int live_within(void* argument) {
  struct rlimit files = {20, 20}, size = {1000, 2000}, space, now;
  (void)argument;
  OK(getrlimit(RLIMIT_AS, &space));
  OK(setrlimit(RLIMIT_NOFILE, &files));
  OK(prlimit(getpid(), RLIMIT_FSIZE, &size, &now));
  FAILS(fcntl(1, F_DUPFD, 20), EINVAL);
  while (dup(1) >= 0) {
  }
  CHECK_EQ(errno, EMFILE);
  set_handler(SIGXFSZ, on_size, 0);
  OK(close(19));
  int fd = OK(open(scratch("limited"), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  char block[1500] = "";
  CHECK_EQ(write(fd, block, sizeof block), 1000);
  FAILS(write(fd, block, sizeof block), EFBIG);
  CHECK_EQ(signals, 1);
  OK(unlink(scratch("limited")));
  space.rlim_cur = 100 << 20;
  OK(setrlimit(RLIMIT_AS, &space));
  errno = 0;
  CHECK(mmap(NULL, 200 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
  CHECK_EQ(errno, ENOMEM);
  return 28;
}

static void each(unsigned round) {
  struct rlimit limit, again;
  for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
    OK(getrlimit(resource, &limit));
    OK(prlimit(0, resource, NULL, &again));
    CHECK(memcmp(&limit, &again, sizeof limit) == 0);
    note(&limit, sizeof limit);
  }
  limit.rlim_cur = round;
  limit.rlim_max = RLIM_INFINITY;
  OK(getrlimit(RLIMIT_CORE, &again));
  limit.rlim_max = again.rlim_max;
  if (limit.rlim_max >= round) OK(setrlimit(RLIMIT_CORE, &limit));
  reap(start_child(live_within, NULL), 28);
  note_number(getpriority(PRIO_PROCESS, 0));
  OK(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0)));
  mix_number(round);
}

PROBE(.round = each)
