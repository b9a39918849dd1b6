/* A read-write lock: readers beside each other, a writer alone, try and time limit. */
#include "probe.h"

enum { kReaders = 3, kWrites = 10 };
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static unsigned a, b;
static bool stop;

static void* read_often(void* argument) {
  unsigned reads = 0;
  (void)argument;
  do {
    ZERO(pthread_rwlock_rdlock(&lock));
    CHECK_EQ(a * 7, b);
    reads++;
    ZERO(pthread_rwlock_unlock(&lock));
    sleep_ms(1);
  } while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE));
  return (void*)(long)reads;
}

static void each(unsigned round) {
  pthread_t readers[kReaders];
  stop = false;
  for (int i = 0; i < kReaders; i++) ZERO(pthread_create(&readers[i], NULL, read_often, NULL));
  for (int i = 0; i < kWrites; i++) {
    ZERO(pthread_rwlock_wrlock(&lock));
    a++;
    CHECK_EQ(pthread_rwlock_trywrlock(&lock) != 0, 1);
    b += 7;
    ZERO(pthread_rwlock_unlock(&lock));
    sched_yield();
  }
  sleep_ms(2);
  __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
  for (int i = 0; i < kReaders; i++) {
    void* reads;
    ZERO(pthread_join(readers[i], &reads));
    CHECK((long)reads > 0);
    note_number((long)reads);
  }
  mix_number(a + b + round);
}

PROBE(.round = each)
