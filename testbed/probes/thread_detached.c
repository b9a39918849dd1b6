/* Detached threads, one of which outlives the rounds; names of threads; cancellation. */
#include "probe.h"

static unsigned finished;
static bool over;
static int cleaned;

static void* be_short(void* argument) {
  __atomic_add_fetch(&finished, (unsigned)(long)argument, __ATOMIC_ACQ_REL);
  return NULL;
}

static void* live_on(void* argument) {
  (void)argument;
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) sleep_ms(1);
  __atomic_store_n(&over, false, __ATOMIC_RELEASE);
  return NULL;
}

static void clean(void* argument) { cleaned += *(int*)argument; }

static void* wait_for_ever(void* argument) {
  pthread_cleanup_push(clean, argument);
  for (;;) pause();
  pthread_cleanup_pop(0);
  return NULL;
}

static void setup(void) {
  pthread_t thread;
  ZERO(pthread_create(&thread, NULL, live_on, NULL));
  ZERO(pthread_setname_np(thread, "lives-on"));
  ZERO(pthread_detach(thread));
}

static void each(unsigned round) {
  pthread_attr_t attributes;
  pthread_t thread;
  void* result;
  char name[16];
  int amount = 3;
  unsigned before = finished;
  ZERO(pthread_attr_init(&attributes));
  ZERO(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
  ZERO(pthread_attr_setstacksize(&attributes, 65536));
  for (int i = 0; i < 3; i++) ZERO(pthread_create(&thread, &attributes, be_short, (void*)2L));
  while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < before + 6) sleep_ms(1);
  ZERO(pthread_create(&thread, NULL, wait_for_ever, &amount));
  ZERO(pthread_setname_np(thread, "waits"));
  ZERO(pthread_getname_np(thread, name, sizeof name));
  mix_text(name);
  sleep_ms(1);
  ZERO(pthread_cancel(thread));
  ZERO(pthread_join(thread, &result));
  CHECK(result == PTHREAD_CANCELED);
  CHECK_EQ(cleaned, 3 * round);
  mix_number(finished);
}

static void finish(void) {
  over = true;
  while (__atomic_load_n(&over, __ATOMIC_ACQUIRE)) sleep_ms(1);
}

PROBE(.setup = setup, .round = each, .finish = finish)
