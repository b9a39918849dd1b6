/* FUTEX_CMP_REQUEUE: threads that wait at one word are moved to another one and woken there. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "probe.h"

enum { kThreads = 4 };
static uint32_t first, second, waiting, done;

static long futex(uint32_t* address, int operation, long value, long value2, uint32_t* other,
                  uint32_t value3) {
  return syscall(SYS_futex, address, operation, value, value2, other, value3);
}

static void* wait_first(void* argument) {
  (void)argument;
  __atomic_add_fetch(&waiting, 1, __ATOMIC_ACQ_REL);
  while (__atomic_load_n(&first, __ATOMIC_ACQUIRE) == 0)
    if (futex(&first, FUTEX_WAIT_PRIVATE, 0, 0, NULL, 0) == -1) CHECK(errno == EAGAIN || errno == EINTR);
  __atomic_add_fetch(&done, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

static void each(unsigned round) {
  pthread_t threads[kThreads];
  first = second = waiting = done = 0;
  for (int i = 0; i < kThreads; i++) ZERO(pthread_create(&threads[i], NULL, wait_first, NULL));
  while (__atomic_load_n(&waiting, __ATOMIC_ACQUIRE) < kThreads) sleep_ms(1);
  sleep_ms(2);
  FAILS(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, 10, &second, 5), EAGAIN);
  __atomic_store_n(&first, round, __ATOMIC_RELEASE);
  long moved = OK(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, 10, &second, round));
  note_number(moved);
  CHECK(moved <= kThreads);
  while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < kThreads) {
    futex(&second, FUTEX_WAKE_PRIVATE, 1, 0, NULL, 0);
    sleep_ms(1);
  }
  for (int i = 0; i < kThreads; i++) ZERO(pthread_join(threads[i], NULL));
  mix_number(done + round);
}

PROBE(.round = each)
