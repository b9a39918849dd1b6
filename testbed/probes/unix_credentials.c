/* SO_PEERCRED and SCM_CREDENTIALS: who is at the other end, as the kernel tells it. */
#include "probe.h"

static int fds[2];

static int send_one(void* argument) {
  (void)argument;
  write_all(fds[0], "c", 1);
  return 5;
}

static void setup(void) {
  int on = 1;
  OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  OK(setsockopt(fds[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
}

static void each(unsigned round) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  OK(getsockopt(fds[0], SOL_SOCKET, SO_PEERCRED, &peer, &length));
  CHECK_EQ(peer.pid, getpid());
  CHECK_EQ(peer.uid, getuid());
  pid_t pid = start_child(send_one, NULL);
  char byte, control[CMSG_SPACE(sizeof peer)];
  struct iovec vector = {&byte, 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control};
  message.msg_controllen = sizeof control;
  CHECK_EQ(recvmsg(fds[1], &message, 0), 1);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  CHECK(header && header->cmsg_type == SCM_CREDENTIALS);
  memcpy(&peer, CMSG_DATA(header), sizeof peer);
  CHECK_EQ(peer.pid, pid);
  CHECK_EQ(peer.gid, getgid());
  reap(pid, 5);
  note_number(pid);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
