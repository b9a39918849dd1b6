/* Raw futex calls: wait, wake, a time-out, a wrong value, bitsets, WAKE_OP, between threads. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "probe.h"

static uint32_t word, other, turn;

static long futex(uint32_t* address, int operation, uint32_t value, void* timeout, uint32_t* second,
                  uint32_t value3) {
  return syscall(SYS_futex, address, operation, value, timeout, second, value3);
}

static void* wait_for_turn(void* argument) {
  (void)argument;
  while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0)
    if (futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1)
      CHECK(errno == EAGAIN || errno == EINTR);
  __atomic_store_n(&turn, 1, __ATOMIC_RELEASE);
  futex(&turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  return NULL;
}

static void each(unsigned round) {
  struct timespec soon = {0, 2000000}, past = {1, 0};
  pthread_t thread;
  word = turn = 0;
  FAILS(futex(&word, FUTEX_WAIT, 7, NULL, NULL, 0), EAGAIN);
  FAILS(futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0), ETIMEDOUT);
  FAILS(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, NULL, 4), ETIMEDOUT);
  CHECK_EQ(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0), 0);
  ZERO(pthread_create(&thread, NULL, wait_for_turn, NULL));
  sleep_ms(2);
  __atomic_store_n(&word, round, __ATOMIC_RELEASE);
  long woken = OK(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
  note_number(woken);
  while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) == 0)
    if (futex(&turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == -1) CHECK(errno == EAGAIN);
  ZERO(pthread_join(thread, NULL));
  other = 10; /* other += 5, in the kernel */
  CHECK_EQ(futex(&word, FUTEX_WAKE_OP, 1, (void*)1, &other,
                 FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 99)),
           0);
  CHECK_EQ(other, 15);
  mix_number(word + other);
}

PROBE(.round = each)
