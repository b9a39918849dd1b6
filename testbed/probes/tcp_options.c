/* Socket options of all levels are set, read back, and kept. */
#include "inet.h"

static int fds[2];

static const struct {
  int level, name, value;
} kOptions[] = {{IPPROTO_IP, IP_TOS, 0x10}, /* sets the priority too */
                {SOL_SOCKET, SO_KEEPALIVE, 1},      {SOL_SOCKET, SO_REUSEADDR, 1},
                {SOL_SOCKET, SO_PRIORITY, 3},       {SOL_SOCKET, SO_BROADCAST, 1},
                {IPPROTO_TCP, TCP_NODELAY, 1},      {IPPROTO_TCP, TCP_KEEPIDLE, 77},
                {IPPROTO_TCP, TCP_KEEPCNT, 5},      {IPPROTO_TCP, TCP_KEEPINTVL, 11},
                {IPPROTO_TCP, TCP_USER_TIMEOUT, 5000}, {IPPROTO_TCP, TCP_LINGER2, 7},
                {IPPROTO_IP, IP_TTL, 33}};

static void setup(void) {
  tcp_pair(fds);
  for (unsigned i = 0; i < sizeof kOptions / sizeof *kOptions; i++)
    OK(setsockopt(fds[0], kOptions[i].level, kOptions[i].name, &kOptions[i].value, sizeof(int)));
}

static void each(unsigned round) {
  socklen_t length;
  for (unsigned i = 0; i < sizeof kOptions / sizeof *kOptions; i++) {
    int value = -1;
    length = sizeof value;
    OK(getsockopt(fds[0], kOptions[i].level, kOptions[i].name, &value, &length));
    CHECK_EQ(value, kOptions[i].value);
    mix_number(value);
  }
  struct linger linger = {1, (int)round}, again = {0, 0};
  length = sizeof again;
  OK(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  OK(getsockopt(fds[0], SOL_SOCKET, SO_LINGER, &again, &length));
  CHECK_EQ(again.l_linger, round);
  int type = 0, buffer = 20000;
  length = sizeof type;
  OK(getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &length));
  CHECK_EQ(type, SOCK_STREAM);
  OK(setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer));
  OK(getsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &buffer, &length));
  CHECK_EQ(buffer, 40000);
  char congestion[16] = "";
  length = sizeof congestion;
  OK(getsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, congestion, &length));
  note(congestion, sizeof congestion);
  struct tcp_info info;
  length = sizeof info;
  OK(getsockopt(fds[0], IPPROTO_TCP, TCP_INFO, &info, &length));
  CHECK_EQ(info.tcpi_state, TCP_ESTABLISHED);
  note(&info, length);
  FAILS(getsockopt(fds[0], SOL_SOCKET, 9999, &type, &length), ENOPROTOOPT);
}

PROBE(.setup = setup, .round = each)
