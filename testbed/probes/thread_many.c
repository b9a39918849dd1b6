/* Forty threads at once, each with a result, that hand a token around. */
#include "probe.h"

enum { kThreads = 40 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned token;
static uint64_t trace;

static void* take_turn(void* index) {
  ZERO(pthread_mutex_lock(&mutex));
  while (token != (unsigned long)index) ZERO(pthread_cond_wait(&changed, &mutex));
  trace = trace * 31 + token;
  token++;
  ZERO(pthread_cond_broadcast(&changed));
  ZERO(pthread_mutex_unlock(&mutex));
  return (void*)((long)index * 2);
}

static void each(unsigned round) {
  pthread_t threads[kThreads];
  pthread_attr_t attributes;
  unsigned long sum = 0;
  token = 0;
  ZERO(pthread_attr_init(&attributes));
  ZERO(pthread_attr_setstacksize(&attributes, 65536));
  for (long i = 0; i < kThreads; i++)
    ZERO(pthread_create(&threads[i], &attributes, take_turn, (void*)(kThreads - 1 - i)));
  for (int i = 0; i < kThreads; i++) {
    void* result;
    ZERO(pthread_join(threads[i], &result));
    sum += (unsigned long)result;
  }
  CHECK_EQ(sum, kThreads * (kThreads - 1));
  mix_number(trace + round);
}

PROBE(.round = each)
