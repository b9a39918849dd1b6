/* Condition variables: a queue between threads that stay over the rounds, a broadcast, a time-out. */
#include "probe.h"

enum { kWorkers = 3, kJobs = 12 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static pthread_t workers[kWorkers];
static unsigned queued, done;
static unsigned long sum;
static bool over;

static void* serve(void* argument) {
  (void)argument;
  ZERO(pthread_mutex_lock(&mutex));
  for (;;) {
    while (queued == 0 && !over) ZERO(pthread_cond_wait(&filled, &mutex));
    if (queued == 0) break;
    sum += queued--;
    done++;
    ZERO(pthread_cond_signal(&emptied));
  }
  ZERO(pthread_mutex_unlock(&mutex));
  return NULL;
}

static void setup(void) {
  for (int i = 0; i < kWorkers; i++) ZERO(pthread_create(&workers[i], NULL, serve, NULL));
}

static void each(unsigned round) {
  struct timespec until;
  ZERO(pthread_mutex_lock(&mutex));
  for (unsigned i = 0; i < kJobs; i++) {
    queued++;
    ZERO(pthread_cond_signal(&filled));
    while (queued > 2) ZERO(pthread_cond_wait(&emptied, &mutex));
  }
  while (done < kJobs * round) ZERO(pthread_cond_wait(&emptied, &mutex));
  OK(clock_gettime(CLOCK_REALTIME, &until));
  until.tv_nsec = (until.tv_nsec + 2000000) % 1000000000;
  if (until.tv_nsec < 2000000) until.tv_sec++;
  CHECK_EQ(pthread_cond_timedwait(&emptied, &mutex, &until), ETIMEDOUT);
  ZERO(pthread_mutex_unlock(&mutex));
  note_number(sum); /* depends on how many were queued at once */
  mix_number(done);
}

static void finish(void) {
  ZERO(pthread_mutex_lock(&mutex));
  over = true;
  ZERO(pthread_cond_broadcast(&filled));
  ZERO(pthread_mutex_unlock(&mutex));
  for (int i = 0; i < kWorkers; i++) ZERO(pthread_join(workers[i], NULL));
}

PROBE(.setup = setup, .round = each, .finish = finish)
