/* SO_RCVTIMEO and SO_SNDTIMEO: a blocking call ends with EAGAIN, in its time and not earlier. */
#include <sys/time.h>

#include "inet.h"

static int fds[2];

static void setup(void) {
  tcp_pair(fds);
  struct timeval limit = {0, 20000};
  OK(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
}

static void each(unsigned round) {
  struct timespec before, after;
  struct timeval limit = {9, 9};
  socklen_t length = sizeof limit;
  char byte;
  OK(getsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, &length));
  CHECK(limit.tv_sec == 0 && limit.tv_usec >= 20000 && limit.tv_usec < 40000);
  OK(clock_gettime(CLOCK_MONOTONIC, &before));
  FAILS(read(fds[0], &byte, 1), EAGAIN);
  OK(clock_gettime(CLOCK_MONOTONIC, &after));
  long waited = (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec;
  CHECK(waited >= 19000000);
  note_number(waited);
  write_all(fds[1], "x", 1);
  read_all(fds[0], &byte, 1);
  mix_number(byte + round);
}

PROBE(.setup = setup, .round = each)
