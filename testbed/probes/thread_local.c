/* Thread-local variables, keys with destructors, and each thread's own errno and signal mask. */
#include "probe.h"

enum { kThreads = 3 };
static __thread unsigned counter = 40;
static __thread char block[5000];
static pthread_key_t key;
static unsigned destroyed;

static void destroy(void* value) { __atomic_add_fetch(&destroyed, (unsigned)(long)value, __ATOMIC_RELAXED); }

static void* use(void* argument) {
  unsigned number = (unsigned)(long)argument;
  sigset_t set = one_signal(SIGUSR1), now;
  CHECK_EQ(counter, 40);
  CHECK_EQ(block[100], 0);
  counter += number;
  fill(block, sizeof block, number);
  ZERO(pthread_setspecific(key, (void*)(long)number));
  ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
  errno = (int)number;
  sched_yield();
  CHECK_EQ(errno, number);
  ZERO(pthread_sigmask(SIG_BLOCK, NULL, &now));
  CHECK(sigismember(&now, SIGUSR1));
  CHECK_EQ((long)pthread_getspecific(key), number);
  return (void*)(long)(counter + (unsigned char)block[99]);
}

static void setup(void) { ZERO(pthread_key_create(&key, destroy)); }

static void each(unsigned round) {
  pthread_t threads[kThreads];
  sigset_t now;
  counter = round;
  for (long i = 0; i < kThreads; i++)
    ZERO(pthread_create(&threads[i], NULL, use, (void*)(round * 10 + i + 1)));
  for (int i = 0; i < kThreads; i++) {
    void* result;
    ZERO(pthread_join(threads[i], &result));
    mix_number((long)result);
  }
  ZERO(pthread_sigmask(SIG_BLOCK, NULL, &now));
  CHECK(!sigismember(&now, SIGUSR1));
  CHECK_EQ(counter, round);
  mix_number(destroyed);
}

PROBE(.setup = setup, .round = each)
