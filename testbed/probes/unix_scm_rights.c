/* SCM_RIGHTS: descriptors travel over a unix socket, one of them stays in flight over the rounds. */
#include "probe.h"

static int fds[2], file;

static void send_fds(const int* sent, int count) {
  char byte = count, control[CMSG_SPACE(sizeof(int) * 2)] = "";
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
  message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){CMSG_LEN(sizeof(int) * count), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(header), sent, sizeof(int) * count);
  CHECK_EQ(sendmsg(fds[0], &message, 0), 1);
}

static int receive_fds(int* received) {
  char byte = 0, control[CMSG_SPACE(sizeof(int) * 2)] = "";
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
  message.msg_controllen = sizeof control;
  CHECK_EQ(recvmsg(fds[1], &message, MSG_CMSG_CLOEXEC), 1);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  CHECK(header && header->cmsg_type == SCM_RIGHTS);
  CHECK_EQ(header->cmsg_len, CMSG_LEN(sizeof(int) * byte));
  memcpy(received, CMSG_DATA(header), sizeof(int) * byte);
  return byte;
}

static void setup(void) {
  OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds));
  file = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  send_fds(&file, 1);
}

static void each(unsigned round) {
  int got[2], pipe_fds[2];
  CHECK_EQ(receive_fds(got), 1);
  CHECK(got[0] != file);
  CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
  write_all(got[0], &round, sizeof round);
  CHECK_EQ(lseek(file, 0, SEEK_CUR), (long)(round * sizeof round)); /* one description */
  OK(close(got[0]));
  OK(pipe(pipe_fds));
  send_fds(pipe_fds, 2);
  OK(close(pipe_fds[0]));
  OK(close(pipe_fds[1]));
  CHECK_EQ(receive_fds(got), 2);
  write_all(got[1], "through", 7);
  char back[8] = "";
  read_all(got[0], back, 7);
  mix_text(back);
  OK(close(got[0]));
  OK(close(got[1]));
  send_fds(&file, 1);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
