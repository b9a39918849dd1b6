/* Robust mutexes: a thread, and a process, die with the lock; the kernel marks it and wakes the next. */
#include "probe.h"

static pthread_mutex_t* shared; /* between processes */
static pthread_mutex_t own;

static void* die_locked(void* argument) {
  (void)argument;
  ZERO(pthread_mutex_lock(&own));
  return NULL;
}

static int exit_locked(void* argument) {
  (void)argument;
  ZERO(pthread_mutex_lock(shared));
  sleep_ms(3);
  return 5;
}

static void setup(void) {
  pthread_mutexattr_t attributes;
  ZERO(pthread_mutexattr_init(&attributes));
  ZERO(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
  ZERO(pthread_mutex_init(&own, &attributes));
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  ZERO(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
  ZERO(pthread_mutex_init(shared, &attributes));
}

static void each(unsigned round) {
  pthread_t thread;
  ZERO(pthread_create(&thread, NULL, die_locked, NULL));
  ZERO(pthread_join(thread, NULL));
  CHECK_EQ(pthread_mutex_lock(&own), EOWNERDEAD);
  ZERO(pthread_mutex_consistent(&own));
  ZERO(pthread_mutex_unlock(&own));
  pid_t pid = start_child(exit_locked, NULL);
  sleep_ms(1);
  int result = pthread_mutex_lock(shared); /* before it, while it holds it, or after its death */
  if (result == 0) {
    ZERO(pthread_mutex_unlock(shared));
    reap(pid, 5);
    result = pthread_mutex_lock(shared);
  } else {
    reap(pid, 5);
  }
  CHECK_EQ(result, EOWNERDEAD);
  ZERO(pthread_mutex_consistent(shared));
  ZERO(pthread_mutex_unlock(shared));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
