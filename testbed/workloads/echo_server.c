/* A container's program for tests of the network: it answers, checks, or does exactly what it is told.
 *
 *   7100 TCP and UDP  echo; the end of the input is answered with the end of the output
 *   7101 TCP          compares its input with the content of pattern.py; after the end "BYTES POSITION" with the position of
 *                     the first wrong byte, or -1
 *   7102 TCP          accepts, reads and writes only when told so on
 *   7103 TCP          a line per command, a line per answer:
 *     accept N        waits for N connections; "accepted ID..."
 *     read ID N       waits for N bytes or the end; "read COUNT POSITION eof|open" (POSITION as above)
 *     write ID N      writes N bytes of the content, fewer if the socket is full; "written COUNT"
 *     end ID          half-closes, nothing more will be written; "ok"
 *     close ID        "ok"
 *     urgent ID       reads the urgent byte; "urgent C"
 *     state ID        "state STATE unread N unsent N scale SENT RECEIVED" (window scaling as in TCP_INFO)
 *     queued          "queued N": connections that wait to be accepted
 * What fails is answered with "error: WHY".
 *
 * One thread for 7100 and 7101, one for the rest, so that a command may wait. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  kEchoPort = 7100,
  kComparePort = 7101,
  kManagedPort = 7102,
  kControlPort = 7103,
  kBacklog = 1024,
  kManaged = 256,
  kChunk = 1 << 16,
  kLine = 4096,
  kWaitMs = 15000,
  kBlock = 4096, /* of pattern.py */
};

static void must(int ok, const char* what) {
  if (ok) return;
  perror(what);
  exit(2);
}

static int listen_on(int port) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  must(bind(fd, (void*)&address, sizeof address) == 0 && listen(fd, kBacklog) == 0, "listen");
  return fd;
}

/* ---- content ---- */

static unsigned char pattern_at(uint64_t position) {
  unsigned inside = position % kBlock;
  if (inside < 8) return (position / kBlock) >> (8 * (7 - inside));
  return (7 * (inside - 8) + 13) % 251;
}

static void pattern_fill(unsigned char* data, size_t size, uint64_t position) {
  for (size_t i = 0; i < size; i++) data[i] = pattern_at(position + i);
}

/* Position of the first wrong byte, or -1. */
static int64_t pattern_compare(const unsigned char* data, size_t size, uint64_t position) {
  for (size_t i = 0; i < size; i++)
    if (data[i] != pattern_at(position + i)) return position + i;
  return -1;
}

/* ---- 7100 and 7101 ---- */

struct Connection {
  int fd, compares, ended;
  uint64_t received; /* compared */
  int64_t wrong;
  size_t start, end; /* of what waits to be sent */
  unsigned char data[kChunk];
};

static int echo_listener, compare_listener, udp_socket, echo_epoll;

static void watch(struct Connection* c, uint32_t events, int how) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  must(epoll_ctl(echo_epoll, how, c->fd, &event) == 0, "epoll_ctl");
}

static void accept_into(int listener, int compares) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
    int one = 1;
    struct Connection* c = malloc(sizeof *c);
    must(c != NULL, "malloc");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->fd = fd, c->compares = compares, c->ended = 0, c->received = 0, c->wrong = -1, c->start = c->end = 0;
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
  }
}

/* Takes what has arrived into the empty buffer; 0: the connection is lost. */
static int take(struct Connection* c) {
  ssize_t n = recv(c->fd, c->data, sizeof c->data, 0);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  c->start = c->end = 0;
  if (n == 0) {
    c->ended = 1;
    if (c->compares)
      c->end = snprintf((char*)c->data, sizeof c->data, "%llu %lld\n", (unsigned long long)c->received, (long long)c->wrong);
  } else if (!c->compares) {
    c->end = n;
  } else {
    if (c->wrong < 0) c->wrong = pattern_compare(c->data, n, c->received);
    c->received += n;
  }
  return 1;
}

/* Sends what waits; 0: the connection is over. Reads on only when nothing waits any more. */
static int give(struct Connection* c) {
  while (c->start < c->end) {
    ssize_t n = send(c->fd, c->data + c->start, c->end - c->start, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      watch(c, EPOLLOUT, EPOLL_CTL_MOD);
      return 1;
    }
    if (n < 0) return 0;
    c->start += n;
  }
  if (c->ended) return 0;
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
  return 1;
}

static void serve_connection(struct Connection* c) {
  int waiting = c->start < c->end;
  if ((waiting || take(c)) && give(c)) return;
  close(c->fd);
  free(c);
}

static void serve_datagrams(void) {
  static unsigned char data[1 << 16];
  struct sockaddr_in from;
  socklen_t size = sizeof from;
  ssize_t n;
  while ((n = recvfrom(udp_socket, data, sizeof data, MSG_DONTWAIT, (void*)&from, &size)) >= 0)
    sendto(udp_socket, data, n, 0, (void*)&from, size);
}

static void echo_run(void) {
  static struct epoll_event ready[256];
  struct epoll_event listening = {.events = EPOLLIN};
  int* const ours[] = {&echo_listener, &compare_listener, &udp_socket};
  for (int i = 0; i < 3; i++) {
    listening.data.ptr = ours[i];
    must(epoll_ctl(echo_epoll, EPOLL_CTL_ADD, *ours[i], &listening) == 0, "epoll_ctl");
  }
  for (;;) {
    int n = epoll_wait(echo_epoll, ready, sizeof ready / sizeof *ready, -1);
    for (int i = 0; i < n; i++) {
      if (ready[i].data.ptr == &echo_listener)
        accept_into(echo_listener, 0);
      else if (ready[i].data.ptr == &compare_listener)
        accept_into(compare_listener, 1);
      else if (ready[i].data.ptr == &udp_socket)
        serve_datagrams();
      else
        serve_connection(ready[i].data.ptr);
    }
  }
}

/* ---- 7102 and 7103 ---- */

static struct {
  int fd;
  uint64_t received, written;
} managed[kManaged];
static int managed_listener, managed_count;

static int error(char* answer) { return snprintf(answer, kLine, "error: %s", strerror(errno)); }

static int ready_for(int fd, int events) {
  struct pollfd p = {.fd = fd, .events = events};
  int n;
  do n = poll(&p, 1, kWaitMs);
  while (n < 0 && errno == EINTR);
  if (n == 0) errno = ETIMEDOUT;
  return n == 1;
}

static int do_accept(long count, char* answer) {
  int used = sprintf(answer, "accepted");
  for (long i = 0; i < count; i++) {
    int fd = ready_for(managed_listener, POLLIN) ? accept4(managed_listener, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (fd < 0 || managed_count == kManaged) return error(answer);
    managed[managed_count].fd = fd;
    managed[managed_count].received = managed[managed_count].written = 0;
    used += snprintf(answer + used, kLine - used, " %d", managed_count++);
  }
  return used;
}

static int do_read(int id, long count, char* answer) {
  static unsigned char data[kChunk];
  long done = 0;
  int64_t wrong = -1;
  const char* end = "open";
  while (done < count) {
    long wanted = count - done < kChunk ? count - done : kChunk;
    if (!ready_for(managed[id].fd, POLLIN)) return error(answer);
    ssize_t n = recv(managed[id].fd, data, wanted, 0);
    if (n < 0) return error(answer);
    if (n == 0) {
      end = "eof";
      break;
    }
    if (wrong < 0) wrong = pattern_compare(data, n, managed[id].received);
    managed[id].received += n;
    done += n;
  }
  return snprintf(answer, kLine, "read %ld %lld %s", done, (long long)wrong, end);
}

static int do_write(int id, long count, char* answer) {
  static unsigned char data[kChunk];
  long done = 0;
  while (done < count) {
    long wanted = count - done < kChunk ? count - done : kChunk;
    pattern_fill(data, wanted, managed[id].written);
    ssize_t n = send(managed[id].fd, data, wanted, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return error(answer);
    managed[id].written += n;
    done += n;
  }
  return snprintf(answer, kLine, "written %ld", done);
}

static int do_urgent(int id, char* answer) {
  char byte;
  if (recv(managed[id].fd, &byte, 1, MSG_OOB | MSG_DONTWAIT) != 1) return error(answer);
  return snprintf(answer, kLine, "urgent %c", byte);
}

static int do_state(int id, char* answer) {
  static const char* const names[] = {"0", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
                                      "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"};
  struct tcp_info info = {0};
  socklen_t size = sizeof info;
  int unread = 0, unsent = 0, fd = managed[id].fd;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return error(answer);
  ioctl(fd, SIOCINQ, &unread);
  ioctl(fd, SIOCOUTQ, &unsent);
  return snprintf(answer, kLine, "state %s unread %d unsent %d scale %d %d", names[info.tcpi_state % 12], unread, unsent,
                  info.tcpi_snd_wscale, info.tcpi_rcv_wscale);
}

static int do_queued(char* answer) {
  struct tcp_info info = {0}; /* of a listener: tcpi_unacked is the length of its queue */
  socklen_t size = sizeof info;
  if (getsockopt(managed_listener, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return error(answer);
  return snprintf(answer, kLine, "queued %u", info.tcpi_unacked);
}

static int obey(const char* line, char* answer) {
  char verb[16] = "";
  long first = -1, second = 0;
  sscanf(line, "%15s %ld %ld", verb, &first, &second);
  if (strcmp(verb, "accept") == 0) return do_accept(first, answer);
  if (strcmp(verb, "queued") == 0) return do_queued(answer);
  if (first < 0 || first >= managed_count) return sprintf(answer, "error: no such connection or command");
  if (strcmp(verb, "read") == 0) return do_read(first, second, answer);
  if (strcmp(verb, "write") == 0) return do_write(first, second, answer);
  if (strcmp(verb, "urgent") == 0) return do_urgent(first, answer);
  if (strcmp(verb, "state") == 0) return do_state(first, answer);
  if (strcmp(verb, "end") == 0) return shutdown(managed[first].fd, SHUT_WR) != 0 ? error(answer) : sprintf(answer, "ok");
  if (strcmp(verb, "close") == 0) return close(managed[first].fd) != 0 ? error(answer) : sprintf(answer, "ok");
  return sprintf(answer, "error: unknown command");
}

/* One operator at a time; the next is served when this one has gone. */
static void* control_run(void* unused) {
  static char line[kLine], answer[kLine + 1];
  int listener = listen_on(kControlPort);
  (void)unused;
  for (;;) {
    if (!ready_for(listener, POLLIN)) continue;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    FILE* commands = fd < 0 ? NULL : fdopen(fd, "r");
    while (commands && fgets(line, sizeof line, commands)) {
      int used = obey(line, answer);
      answer[used] = '\n';
      if (send(fd, answer, used + 1, MSG_NOSIGNAL) < 0) break;
    }
    if (commands) fclose(commands);
  }
  return NULL;
}

static void on_term(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(kEchoPort)};
  pthread_t control;
  signal(SIGTERM, on_term); /* as pid 1 there is no default action */
  echo_epoll = epoll_create1(EPOLL_CLOEXEC);
  echo_listener = listen_on(kEchoPort);
  compare_listener = listen_on(kComparePort);
  managed_listener = listen_on(kManagedPort);
  udp_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  must(bind(udp_socket, (void*)&address, sizeof address) == 0, "bind UDP");
  must(pthread_create(&control, NULL, control_run, NULL) == 0, "pthread_create");
  printf("echo_server: ready\n");
  fflush(stdout);
  echo_run();
}
