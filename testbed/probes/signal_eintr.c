/* Blocked calls and signals: EINTR without SA_RESTART, made again with it, never again after a limit. */
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "probe.h"

static int fds[2];
static volatile sig_atomic_t count;
static pid_t helper;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  count++;
}

/* Sends a signal every few milliseconds, and at last a byte. */
static int disturb(void* parent) {
  for (int i = 0; i < 3; i++) {
    sleep_ms(4);
    OK(kill((pid_t)(long)parent, SIGUSR1));
  }
  sleep_ms(4);
  write_all(fds[1], "end", 3);
  return 0;
}

static void begin(int flags) {
  count = 0;
  set_handler(SIGUSR1, on_signal, flags);
  helper = start_child(disturb, (void*)(long)getpid());
}

static void end(void) {
  char byte;
  reap(helper, 0);
  CHECK_EQ(count, 3);
  struct pollfd in = {.fd = fds[0], .events = POLLIN};
  while (poll(&in, 1, 0) == 1) read_all(fds[0], &byte, 1);
}

static void setup(void) { OK(pipe(fds)); }

static void each(unsigned round) {
  char bytes[4];
  struct pollfd in = {.fd = fds[0], .events = POLLIN};
  begin(SA_RESTART);
  CHECK_EQ(read(fds[0], bytes, 3), 3); /* restarted after each of them */
  end();
  begin(0);
  int interrupted = 0;
  while (read(fds[0], bytes, 3) == -1) {
    CHECK_EQ(errno, EINTR);
    interrupted++;
  }
  CHECK_EQ(interrupted, 3);
  end();
  begin(SA_RESTART); /* which makes no difference to these */
  interrupted = 0;
  while (poll(&in, 1, -1) == -1) {
    CHECK_EQ(errno, EINTR);
    interrupted++;
  }
  CHECK_EQ(interrupted, 3);
  end();
  begin(SA_RESTART);
  struct timespec left = {1, 0};
  CHECK(nanosleep(&left, &left) == -1 && errno == EINTR);
  CHECK(left.tv_sec == 0 && left.tv_nsec > 0);
  note(&left, sizeof left);
  struct epoll_event event = {.events = EPOLLIN};
  int set = OK(epoll_create1(0));
  OK(epoll_ctl(set, EPOLL_CTL_ADD, fds[0], &event));
  CHECK(epoll_wait(set, &event, 1, -1) == -1 && errno == EINTR);
  uint32_t word = 0;
  CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &(struct timespec){5, 0}, NULL, 0) == -1 && errno == EINTR);
  OK(close(set));
  end();
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
