/* readv, preadv and recvmsg of 4 MB into sixty-one pieces of odd sizes, from a file, a pipe and sockets. */
#include <sys/uio.h>

#include "probe.h"

enum { kPieces = 61 };
static const size_t kSize = 4 << 20;
static char *in, *expected;
static int file;

static int make_vector(struct iovec* pieces) {
  size_t at = 0;
  for (int i = 0; i < kPieces; i++) {
    size_t length = i == kPieces - 1 ? kSize - at : kSize / kPieces - 1000 + 37 * i;
    pieces[i] = (struct iovec){in + at, length};
    at += length;
  }
  return kPieces;
}

static int send_all(void* fd) {
  write_all((int)(long)fd, expected, kSize);
  return 0;
}

static void check_input(void) {
  CHECK(memcmp(in, expected, kSize) == 0);
  mix(in + kSize - 1000, 1000);
  memset(in, 0, kSize);
}

static void setup(void) {
  in = calloc(1, kSize);
  expected = malloc(kSize);
  file = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0600));
}

static void each(unsigned round) {
  struct iovec pieces[kPieces];
  int fds[2], count = make_vector(pieces);
  fill(expected, kSize, round);
  CHECK_EQ(pwrite(file, expected, kSize, 0), kSize);
  CHECK_EQ(preadv(file, pieces, count, 0), kSize);
  check_input();
  OK(lseek(file, 0, SEEK_SET));
  CHECK_EQ(readv(file, pieces, count), kSize);
  check_input();
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  pid_t pid = start_child(send_all, (void*)(long)fds[1]);
  struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
  CHECK_EQ(recvmsg(fds[0], &message, MSG_WAITALL), kSize);
  check_input();
  reap(pid, 0);
  pid = start_child(send_all, (void*)(long)fds[1]);
  CHECK_EQ(recv(fds[0], in, kSize, MSG_WAITALL), kSize);
  check_input();
  reap(pid, 0);
  OK(close(fds[0]));
  OK(close(fds[1]));
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
