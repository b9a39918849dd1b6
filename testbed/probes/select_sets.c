/* select and pselect: three sets, a number above 64, the time that is left, a signal. */
#include <sys/select.h>
#include <sys/syscall.h>

#include "probe.h"

enum { kHigh = 200 };
static int fds[2];
static volatile sig_atomic_t signals;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  signals++;
}

static void setup(void) {
  OK(pipe(fds));
  CHECK_EQ(dup2(fds[0], kHigh), kHigh);
  set_handler(SIGUSR1, on_signal, 0);
  sigset_t set = one_signal(SIGUSR1);
  OK(sigprocmask(SIG_BLOCK, &set, NULL));
}

static void each(unsigned round) {
  fd_set in, out, except;
  struct timeval limit = {0, 2000};
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_ZERO(&except);
  FD_SET(kHigh, &in);
  FD_SET(fds[1], &out);
  FD_SET(fds[0], &except);
  CHECK_EQ(select(kHigh + 1, &in, &out, &except, &limit), 1);
  CHECK(!FD_ISSET(kHigh, &in) && FD_ISSET(fds[1], &out) && !FD_ISSET(fds[0], &except));
  note(&limit, sizeof limit);
  FD_SET(kHigh, &in);
  limit = (struct timeval){0, 2000};
  CHECK_EQ(select(kHigh + 1, &in, NULL, NULL, &limit), 0);
  CHECK(limit.tv_sec == 0 && limit.tv_usec == 0);
  write_all(fds[1], "x", 1);
  FD_SET(kHigh, &in);
  CHECK_EQ(select(kHigh + 1, &in, NULL, NULL, NULL), 1);
  /* The call itself, where glibc's wrapper may be another one. */
  long raw[4] = {0, 0, 0, 1L << (kHigh - 192)};
  struct timeval raw_limit = {1, 5};
  CHECK_EQ(syscall(SYS_select, kHigh + 1, raw, NULL, NULL, &raw_limit), 1);
  CHECK_EQ(raw[3], 1L << (kHigh - 192));
  note(&raw_limit, sizeof raw_limit);
  char byte;
  read_all(fds[0], &byte, 1);
  sigset_t none;
  sigemptyset(&none);
  struct timespec long_time = {5, 0};
  OK(raise(SIGUSR1));
  errno = 0;
  CHECK(pselect(kHigh + 1, &in, NULL, NULL, &long_time, &none) == -1 && errno == EINTR);
  CHECK_EQ(signals, round);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
