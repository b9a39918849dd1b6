/* Connected UDP: write and read, ECONNREFUSED from an ICMP error, disconnecting, IP_PKTINFO. */
#include "inet.h"

static int a, b;

static void setup(void) {
  a = bound_socket(SOCK_DGRAM);
  b = bound_socket(SOCK_DGRAM);
  struct sockaddr_in address = name_of(b);
  OK(connect(a, (struct sockaddr*)&address, sizeof address));
  int on = 1;
  OK(setsockopt(b, IPPROTO_IP, IP_PKTINFO, &on, sizeof on));
}

static void each(unsigned round) {
  char data[16] = "", control[256];
  write_all(a, &round, sizeof round);
  struct iovec vector = {data, sizeof data};
  struct sockaddr_in from;
  struct msghdr message = {&from, sizeof from, &vector, 1, control, sizeof control, 0};
  CHECK_EQ(recvmsg(b, &message, 0), sizeof round);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  CHECK(header && header->cmsg_type == IP_PKTINFO);
  struct in_pktinfo info;
  memcpy(&info, CMSG_DATA(header), sizeof info);
  CHECK_EQ(ntohl(info.ipi_addr.s_addr), INADDR_LOOPBACK);
  mix(data, sizeof round);
  int closed = bound_socket(SOCK_DGRAM), c = OK(socket(AF_INET, SOCK_DGRAM, 0));
  struct sockaddr_in nobody = name_of(closed), none = {.sin_family = AF_UNSPEC};
  OK(close(closed));
  OK(connect(c, (struct sockaddr*)&nobody, sizeof nobody));
  CHECK_EQ(send(c, "x", 1, 0), 1);
  await(c, POLLERR);
  FAILS(recv(c, data, 1, 0), ECONNREFUSED);
  OK(connect(c, (struct sockaddr*)&none, sizeof none));
  FAILS(send(c, "x", 1, 0), EDESTADDRREQ);
  OK(close(c));
}

PROBE(.setup = setup, .round = each)
