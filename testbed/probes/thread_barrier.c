/* A barrier at which threads of a phased computation meet; spin locks; pthread_once. */
#include "probe.h"

enum { kThreads = 4, kPhases = 5 };
static pthread_barrier_t barrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_spinlock_t spin;
static unsigned values[kThreads], serial, onces, spun;

static void count_once(void) { onces++; }

static void* compute(void* index) {
  unsigned i = (unsigned)(long)index;
  ZERO(pthread_once(&once, count_once));
  for (int phase = 0; phase < kPhases; phase++) {
    unsigned next = values[i] * 3 + values[(i + 1) % kThreads];
    int last = pthread_barrier_wait(&barrier);
    values[i] = next;
    if (last == PTHREAD_BARRIER_SERIAL_THREAD) __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED);
    pthread_barrier_wait(&barrier);
    ZERO(pthread_spin_lock(&spin));
    spun++;
    ZERO(pthread_spin_unlock(&spin));
  }
  return NULL;
}

static void setup(void) {
  ZERO(pthread_barrier_init(&barrier, NULL, kThreads));
  ZERO(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE));
  for (unsigned i = 0; i < kThreads; i++) values[i] = i + 1;
}

static void each(unsigned round) {
  pthread_t threads[kThreads];
  for (long i = 0; i < kThreads; i++) ZERO(pthread_create(&threads[i], NULL, compute, (void*)i));
  for (int i = 0; i < kThreads; i++) ZERO(pthread_join(threads[i], NULL));
  CHECK_EQ(serial, kPhases * round);
  CHECK_EQ(spun, kPhases * kThreads * round);
  CHECK_EQ(onces, 1);
  mix(values, sizeof values);
}

PROBE(.setup = setup, .round = each)
