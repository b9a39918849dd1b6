/* rtnetlink: the links and addresses of the container are asked for, in several messages. */
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "probe.h"

static int fd;

static unsigned dump(int type, unsigned round) {
  struct {
    struct nlmsghdr header;
    struct rtgenmsg message;
  } request = {{NLMSG_LENGTH(sizeof(struct rtgenmsg)), type, NLM_F_REQUEST | NLM_F_DUMP, round, 0},
               {AF_UNSPEC}};
  static char reply[65536] __attribute__((aligned(8)));
  unsigned loopbacks = 0;
  CHECK_EQ(send(fd, &request, request.header.nlmsg_len, 0), request.header.nlmsg_len);
  for (;;) {
    struct sockaddr_nl from;
    socklen_t length = sizeof from;
    unsigned n = OK(recvfrom(fd, reply, sizeof reply, 0, (struct sockaddr*)&from, &length));
    CHECK_EQ(from.nl_pid, 0);
    note(reply, n);
    for (struct nlmsghdr* h = (struct nlmsghdr*)reply; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
      CHECK(h->nlmsg_type != NLMSG_ERROR);
      if (h->nlmsg_type == NLMSG_DONE) return loopbacks;
      if (type == RTM_GETLINK)
        loopbacks += !!(((struct ifinfomsg*)NLMSG_DATA(h))->ifi_flags & IFF_LOOPBACK);
      else
        loopbacks += ((struct ifaddrmsg*)NLMSG_DATA(h))->ifa_scope == RT_SCOPE_HOST;
    }
  }
}

static void setup(void) {
  struct sockaddr_nl any = {.nl_family = AF_NETLINK};
  fd = OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  OK(bind(fd, (struct sockaddr*)&any, sizeof any));
}

static void each(unsigned round) {
  CHECK_EQ(dump(RTM_GETLINK, round), 1);
  CHECK(dump(RTM_GETADDR, round) >= 1);
  CHECK_EQ(if_nametoindex("lo"), 1);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
