/* Threads that contend for a mutex of each type, and for one with a time limit. */
#include "probe.h"

enum { kThreads = 3, kTimes = 20 };
static pthread_mutex_t normal = PTHREAD_MUTEX_INITIALIZER, recursive;
static unsigned long sum;

static void* work(void* argument) {
  for (unsigned i = 0; i < kTimes; i++) {
    ZERO(pthread_mutex_lock(&normal));
    ZERO(pthread_mutex_lock(&recursive));
    ZERO(pthread_mutex_lock(&recursive));
    sum = sum + (unsigned long)argument * i;
    if (i % 8 == 0) sched_yield();
    ZERO(pthread_mutex_unlock(&recursive));
    ZERO(pthread_mutex_unlock(&recursive));
    ZERO(pthread_mutex_unlock(&normal));
  }
  return NULL;
}

static void setup(void) {
  pthread_mutexattr_t attributes;
  ZERO(pthread_mutexattr_init(&attributes));
  ZERO(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE));
  ZERO(pthread_mutex_init(&recursive, &attributes));
}

static void* try_lock(void* argument) {
  struct timespec until;
  (void)argument;
  CHECK_EQ(pthread_mutex_trylock(&normal), EBUSY);
  OK(clock_gettime(CLOCK_REALTIME, &until));
  until.tv_nsec += 2000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  CHECK_EQ(pthread_mutex_timedlock(&normal, &until), ETIMEDOUT);
  return NULL;
}

static void each(unsigned round) {
  pthread_t threads[kThreads];
  for (unsigned long i = 0; i < kThreads; i++)
    ZERO(pthread_create(&threads[i], NULL, work, (void*)(i + round)));
  for (int i = 0; i < kThreads; i++) ZERO(pthread_join(threads[i], NULL));
  ZERO(pthread_mutex_lock(&normal));
  ZERO(pthread_create(&threads[0], NULL, try_lock, NULL));
  ZERO(pthread_join(threads[0], NULL));
  ZERO(pthread_mutex_unlock(&normal));
  mix_number(sum);
}

PROBE(.setup = setup, .round = each)
