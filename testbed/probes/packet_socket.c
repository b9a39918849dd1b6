/* AF_PACKET: the frames of the loopback, of which one is our own datagram. Needs CAP_NET_RAW. */
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>

#include "inet.h"

static int fd;

static void setup(void) {
  fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
  if (fd == -1 && (errno == EPERM || errno == EACCES)) skip("no packet sockets without CAP_NET_RAW");
  OK(fd);
  struct sockaddr_ll lo = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = 1};
  OK(bind(fd, (struct sockaddr*)&lo, sizeof lo));
}

static void each(unsigned round) {
  static char frame[65536];
  char text[64];
  int udp = bound_socket(SOCK_DGRAM);
  struct sockaddr_in self = name_of(udp);
  int length = snprintf(text, sizeof text, "packet of round %u, process %d", round, getpid());
  CHECK_EQ(sendto(udp, text, length, 0, (struct sockaddr*)&self, sizeof self), length);
  ssize_t n;
  do { /* whatever else is on the loopback */
    struct sockaddr_ll from;
    socklen_t from_length = sizeof from;
    n = OK(recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr*)&from, &from_length));
    CHECK_EQ(from.sll_ifindex, 1);
  } while (n != 28 + length || memcmp(frame + 28, text, length));
  OK(close(udp));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
