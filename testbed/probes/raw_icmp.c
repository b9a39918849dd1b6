/* A raw socket pings the loopback: what comes back has an IP header. Needs CAP_NET_RAW. */
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

#include "inet.h"

static int fd;

static void setup(void) {
  fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  if (fd == -1 && (errno == EPERM || errno == EACCES)) skip("no raw sockets without CAP_NET_RAW");
  OK(fd);
}

static uint16_t checksum(const void* data, size_t size) {
  const uint16_t* words = data;
  uint32_t sum = 0;
  for (size_t i = 0; i < size / 2; i++) sum += words[i];
  sum = (sum >> 16) + (sum & 0xffff);
  return ~(sum + (sum >> 16));
}

static void each(unsigned round) {
  struct sockaddr_in to = loopback(0);
  char packet[64] = "", reply[256];
  struct icmphdr* icmp = (struct icmphdr*)packet;
  icmp->type = ICMP_ECHO;
  icmp->un.echo.id = getpid();
  icmp->un.echo.sequence = round;
  fill(packet + sizeof *icmp, sizeof packet - sizeof *icmp, round);
  icmp->checksum = checksum(packet, sizeof packet);
  CHECK_EQ(sendto(fd, packet, sizeof packet, 0, (struct sockaddr*)&to, sizeof to), 64);
  for (;;) { /* others ping as well, and the request comes in too */
    ssize_t n = OK(recv(fd, reply, sizeof reply, 0));
    struct icmphdr* got = (struct icmphdr*)(reply + ((struct iphdr*)reply)->ihl * 4);
    if (got->type != ICMP_ECHOREPLY || got->un.echo.id != icmp->un.echo.id ||
        got->un.echo.sequence != round)
      continue;
    note(reply, n);
    CHECK(memcmp(got + 1, icmp + 1, sizeof packet - sizeof *icmp) == 0);
    mix(got + 1, sizeof packet - sizeof *icmp);
    break;
  }
}

PROBE(.setup = setup, .round = each)
