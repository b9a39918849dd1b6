/* Waits for its ticks with io_uring if it can, else with epoll, and prints which: one line "WAY N" per tick, ten a second.
 * The fallback is the one of the libraries: whatever io_uring_setup answers, ENOSYS or EPERM, means to do without. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct ring {
  int fd;
  unsigned *submit_tail, *submit_mask, *submit_array, *complete_head, *complete_tail;
  struct io_uring_sqe *entries;
};

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void *map_ring(int fd, size_t size, off_t offset) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (at == MAP_FAILED) die("mmap");
  return at;
}

/* 0 if there is no io_uring here. */
static int open_ring(struct ring *ring) {
  struct io_uring_params params;
  memset(&params, 0, sizeof params);
  ring->fd = syscall(SYS_io_uring_setup, 4, &params);
  if (ring->fd < 0) {
    printf("io_uring_setup: %s\n", strerrorname_np(errno));
    return 0;
  }
  char *submit = map_ring(ring->fd, params.sq_off.array + params.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
  char *complete = map_ring(ring->fd, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
                            IORING_OFF_CQ_RING);
  ring->entries = map_ring(ring->fd, params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
  ring->submit_tail = (unsigned *)(submit + params.sq_off.tail);
  ring->submit_mask = (unsigned *)(submit + params.sq_off.ring_mask);
  ring->submit_array = (unsigned *)(submit + params.sq_off.array);
  ring->complete_head = (unsigned *)(complete + params.cq_off.head);
  ring->complete_tail = (unsigned *)(complete + params.cq_off.tail);
  return 1;
}

static void read_with_ring(struct ring *ring, int fd, uint64_t *value) {
  const unsigned tail = *ring->submit_tail, slot = tail & *ring->submit_mask;
  struct io_uring_sqe *entry = &ring->entries[slot];
  memset(entry, 0, sizeof *entry);
  entry->opcode = IORING_OP_READ;
  entry->fd = fd;
  entry->addr = (uintptr_t)value;
  entry->len = sizeof *value;
  ring->submit_array[slot] = slot;
  __atomic_store_n(ring->submit_tail, tail + 1, __ATOMIC_RELEASE);
  while (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
    if (errno != EINTR) die("io_uring_enter");
  }
  if (*ring->complete_head == __atomic_load_n(ring->complete_tail, __ATOMIC_ACQUIRE)) die("no completion");
  __atomic_store_n(ring->complete_head, *ring->complete_head + 1, __ATOMIC_RELEASE);
}

static void read_with_epoll(int epoll, int fd, uint64_t *value) {
  struct epoll_event event;
  while (epoll_wait(epoll, &event, 1, -1) != 1) {
    if (errno != EINTR) die("epoll_wait");
  }
  if (read(fd, value, sizeof *value) != sizeof *value) die("read");
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  const struct itimerspec period = {{0, 100000000}, {0, 100000000}};
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  if (timer < 0 || timerfd_settime(timer, 0, &period, NULL) != 0) die("timerfd");
  struct ring ring;
  const int has_ring = open_ring(&ring);
  const int epoll = has_ring ? -1 : epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  if (!has_ring && epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) != 0) die("epoll_ctl");
  for (unsigned long tick = 0;; tick++) {
    uint64_t expirations;
    if (has_ring) {
      read_with_ring(&ring, timer, &expirations);
    } else {
      read_with_epoll(epoll, timer, &expirations);
    }
    printf("%s %lu\n", has_ring ? "io_uring" : "epoll", tick);
  }
}
