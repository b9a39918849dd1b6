/* Mutexes with priority inheritance: the kernel writes the owner into the word. Also raw, with TRYLOCK. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "probe.h"

static pthread_mutex_t mutex;
static uint32_t word;
static unsigned sum;

static void* add(void* amount) {
  for (int i = 0; i < 5; i++) {
    ZERO(pthread_mutex_lock(&mutex));
    sum += (unsigned)(long)amount;
    if (i == 2) sleep_ms(1); /* others wait in the kernel */
    ZERO(pthread_mutex_unlock(&mutex));
  }
  return NULL;
}

static void* lock_raw(void* argument) {
  (void)argument;
  OK(syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)); /* waits for the main thread */
  CHECK_EQ(word & FUTEX_TID_MASK, syscall(SYS_gettid));
  OK(syscall(SYS_futex, &word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
  return NULL;
}

static void setup(void) {
  pthread_mutexattr_t attributes;
  ZERO(pthread_mutexattr_init(&attributes));
  ZERO(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
  ZERO(pthread_mutex_init(&mutex, &attributes));
}

static void each(unsigned round) {
  pthread_t threads[3];
  for (long i = 0; i < 3; i++) ZERO(pthread_create(&threads[i], NULL, add, (void*)(i + round)));
  for (int i = 0; i < 3; i++) ZERO(pthread_join(threads[i], NULL));
  OK(syscall(SYS_futex, &word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
  CHECK_EQ(word & FUTEX_TID_MASK, syscall(SYS_gettid));
  FAILS(syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, NULL, NULL, 0), EDEADLK);
  ZERO(pthread_create(&threads[0], NULL, lock_raw, NULL));
  while (!(__atomic_load_n(&word, __ATOMIC_ACQUIRE) & FUTEX_WAITERS)) sleep_ms(1);
  OK(syscall(SYS_futex, &word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
  ZERO(pthread_join(threads[0], NULL));
  CHECK_EQ(word & FUTEX_TID_MASK, 0);
  mix_number(sum);
}

PROBE(.setup = setup, .round = each)
