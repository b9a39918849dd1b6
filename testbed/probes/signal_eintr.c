/* Blocked calls and signals: EINTR without SA_RESTART, made again with it, never again after a limit. */
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "probe.h"

enum { kGot, kOver };
static int fds[2];
static volatile unsigned* shared;
static pid_t disturber;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  shared[kGot]++;
}

/* Sends signals, each when the one before has arrived, and at last some bytes. */
static int disturb(void* times) {
  pid_t parent = getppid();
  for (unsigned i = 1; i <= (unsigned long)times && !shared[kOver]; i++) {
    sleep_ms(3); /* it most likely waits again */
    OK(kill(parent, SIGUSR1));
    while (shared[kGot] < i) sleep_ms(1);
  }
  sleep_ms(3);
  write_all(fds[1], "end", 3);
  return 0;
}

static void begin(int flags, unsigned long times) {
  shared[kGot] = shared[kOver] = 0;
  set_handler(SIGUSR1, on_signal, flags);
  disturber = start_child(disturb, (void*)times);
}

static void end(void) {
  char byte;
  shared[kOver] = 1;
  reap(disturber, 0);
  struct pollfd in = {.fd = fds[0], .events = POLLIN};
  while (poll(&in, 1, 0) == 1) read_all(fds[0], &byte, 1);
}

static void setup(void) {
  OK(pipe(fds));
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
}

static void each(unsigned round) {
  char bytes[4];
  struct pollfd in = {.fd = fds[0], .events = POLLIN};
  begin(SA_RESTART, 3);
  CHECK_EQ(read(fds[0], bytes, 3), 3); /* restarted after each of them */
  end();
  begin(0, 3);
  int interrupted = 0;
  while (read(fds[0], bytes, 3) == -1) {
    CHECK_EQ(errno, EINTR);
    interrupted++;
  }
  CHECK_EQ(shared[kGot], 3);
  note_number(interrupted); /* on a busy machine one may come between two calls */
  end();
  begin(SA_RESTART, 3); /* which makes no difference to these */
  interrupted = 0;
  while (poll(&in, 1, -1) == -1) {
    CHECK_EQ(errno, EINTR);
    interrupted++;
  }
  CHECK_EQ(shared[kGot], 3);
  note_number(interrupted); /* on a busy machine one may come between two calls */
  end();
  begin(SA_RESTART, 1000);
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
