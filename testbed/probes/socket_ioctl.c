/* FIONREAD, FIONBIO, SIOCOUTQ, SIOCGIFCONF, SIOCGIFADDR, SIOCGIFFLAGS, SIOCGIFNAME. */
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "inet.h"

static int fds[2];

static void setup(void) { tcp_pair(fds); }

static void each(unsigned round) {
  int value = 1;
  char back[100];
  write_all(fds[0], back, round % 100);
  if (round % 100) await(fds[1], POLLIN);
  OK(ioctl(fds[1], FIONREAD, &value));
  CHECK_EQ(value, round % 100);
  OK(recv(fds[1], back, sizeof back, MSG_DONTWAIT));
  OK(ioctl(fds[0], SIOCOUTQ, &value));
  note_number(value);
  value = 1;
  OK(ioctl(fds[1], FIONBIO, &value));
  FAILS(read(fds[1], back, 1), EAGAIN);
  value = 0;
  OK(ioctl(fds[1], FIONBIO, &value));
  struct ifreq request = {.ifr_name = "lo"}, all[16];
  OK(ioctl(fds[0], SIOCGIFADDR, &request));
  CHECK_EQ(ntohl(((struct sockaddr_in*)&request.ifr_addr)->sin_addr.s_addr), INADDR_LOOPBACK);
  OK(ioctl(fds[0], SIOCGIFFLAGS, &request));
  CHECK(request.ifr_flags & IFF_LOOPBACK);
  request.ifr_ifindex = 1;
  OK(ioctl(fds[0], SIOCGIFNAME, &request));
  CHECK(strcmp(request.ifr_name, "lo") == 0);
  struct ifconf list = {.ifc_len = sizeof all, .ifc_req = all};
  OK(ioctl(fds[0], SIOCGIFCONF, &list));
  CHECK(list.ifc_len >= (int)sizeof *all);
  note(all, list.ifc_len);
  FAILS(ioctl(fds[0], 0x1234567, NULL), ENOTTY);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
