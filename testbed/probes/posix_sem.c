/* POSIX semaphores: unnamed in a process and in shared memory, named, with a time limit. */
#include <semaphore.h>

#include "probe.h"

static sem_t own, *shared, *named;

static void* post_later(void* argument) {
  (void)argument;
  sleep_ms(2);
  OK(sem_post(&own));
  return NULL;
}

static int ping(void* argument) {
  (void)argument;
  for (int i = 0; i < 5; i++) {
    OK(sem_wait(&shared[0]));
    OK(sem_post(&shared[1]));
  }
  OK(sem_post(named));
  return 19;
}

static void setup(void) {
  OK(sem_init(&own, 0, 0));
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  OK(sem_init(&shared[0], 1, 0));
  OK(sem_init(&shared[1], 1, 0));
  sem_unlink(unique_name("/"));
  named = sem_open(unique_name("/"), O_CREAT | O_EXCL, 0600, 0);
  CHECK(named != SEM_FAILED);
}

static void each(unsigned round) {
  struct timespec until;
  pthread_t thread;
  int value;
  FAILS(sem_trywait(&own), EAGAIN);
  OK(clock_gettime(CLOCK_REALTIME, &until));
  FAILS(sem_timedwait(&own, &until), ETIMEDOUT);
  ZERO(pthread_create(&thread, NULL, post_later, NULL));
  OK(sem_wait(&own));
  ZERO(pthread_join(thread, NULL));
  pid_t pid = start_child(ping, NULL);
  for (int i = 0; i < 5; i++) {
    OK(sem_post(&shared[0]));
    OK(sem_wait(&shared[1]));
  }
  reap(pid, 19);
  OK(sem_getvalue(named, &value)); /* grows over the rounds */
  CHECK_EQ(value, round);
  mix_number(value);
}

static void finish(void) {
  OK(sem_close(named));
  OK(sem_unlink(unique_name("/")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
