/* A load with checked replies: keeps N connections busy with redis, memcached or HTTP, and tells throughput and latency.
 *
 *   load redis|memcached|http ADDRESS PORT [connections=50] [seconds=5] [warmup=0.5] [rate=0] [keys=100] [bytes=64] [path=/]
 *
 * One request at a time on each connection; without a rate the next one follows the reply, with one (requests per second
 * over all connections) they are sent by the clock, and a latency counts from when the request was due. Every connection has
 * keys of its own: a reply must be what it wrote there last (redis and memcached), or what the first reply was (http).
 * Prints one line of JSON; exit code 1 if a reply was wrong or a connection ended.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum protocol { REDIS, MEMCACHED, HTTP };
enum { MAX_CONNECTIONS = 2000, MAX_KEYS = 1000, BUFFER = 128 * 1024, BUCKETS = 64 * 32 };

struct connection {
  int fd, number, busy, is_set, key;
  uint32_t version[MAX_KEYS]; /* 0: never written */
  uint32_t writes;
  double due;
  char in[BUFFER];
  int in_size;
};

static enum protocol protocol;
static int connections = 50, keys = 100, value_bytes = 64;
static double seconds = 5, warmup = 0.5, rate = 0;
static const char *path = "/";
static uint64_t histogram[BUCKETS], replies, wrong, ended, first_body_hash;
static double longest_gap, last_reply, max_latency;
static volatile sig_atomic_t stop;
static char mistake[300];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(2);
}

/* Log-linear: 32 steps for each power of two of microseconds/16. */
static int bucket_of(double latency) {
  uint64_t n = (uint64_t)(latency * 16e6) + 32;
  int power = 63 - __builtin_clzll(n);
  int index = (power - 5) * 32 + (int)((n >> (power - 5)) & 31);
  return index < BUCKETS ? index : BUCKETS - 1;
}
static double bucket_value(int index) {
  int power = index / 32 + 5;
  return ((double)(((uint64_t)32 + (uint64_t)(index % 32)) << (power - 5)) - 32) / 16e6;
}
static double quantile(double q) {
  uint64_t seen = 0, total = 0;
  for (int i = 0; i < BUCKETS; i++) total += histogram[i];
  for (int i = 0; i < BUCKETS; i++) {
    seen += histogram[i];
    if ((double)seen >= q * (double)total) return bucket_value(i);
  }
  return 0;
}

static void make_value(const struct connection *c, int key, uint32_t version, char *out) {
  uint32_t x = (uint32_t)c->number * 2654435761u + (uint32_t)key * 40503u + version * 97u + 1;
  for (int i = 0; i < value_bytes; i++) {
    x = x * 1664525u + 1013904223u;
    out[i] = (char)('a' + (x >> 24) % 26);
  }
}

static void send_request(struct connection *c) {
  static char out[BUFFER];
  static uint64_t turn;
  int size = 0;
  char name[64];
  if (protocol == HTTP) {
    size = snprintf(out, sizeof out, "GET %s HTTP/1.1\r\nHost: load\r\n\r\n", path);
  } else {
    c->key = (int)(c->writes * 7 + turn) % keys;
    c->is_set = turn++ % 10 == 0 || c->version[c->key] == 0;
    snprintf(name, sizeof name, "load:%d:%d", c->number, c->key);
    if (c->is_set) c->version[c->key] = ++c->writes;
    if (c->is_set && protocol == REDIS)
      size = sprintf(out, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%d\r\n", strlen(name), name, value_bytes);
    else if (c->is_set)
      size = sprintf(out, "set %s 0 0 %d\r\n", name, value_bytes);
    else if (protocol == REDIS)
      size = sprintf(out, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(name), name);
    else
      size = sprintf(out, "get %s\r\n", name);
    if (c->is_set) {
      make_value(c, c->key, c->version[c->key], out + size);
      size += value_bytes;
      size += sprintf(out + size, "\r\n");
    }
  }
  if (send(c->fd, out, (size_t)size, MSG_NOSIGNAL) != size) {
    ended++;
    stop = 1;
  }
  c->busy = 1;
  c->in_size = 0;
}

static void note_wrong(const struct connection *c) {
  if (!wrong++)
    snprintf(mistake, sizeof mistake, "connection %d key %d %s: %.*s", c->number, c->key, c->is_set ? "set" : "get",
             c->in_size < 100 ? c->in_size : 100, c->in);
}

/* Whether the reply is complete; counts it as wrong if it is not the one that was due. */
static int check_reply(struct connection *c) {
  static char expected[BUFFER];
  int size = 0;
  c->in[c->in_size] = 0;
  if (protocol == HTTP) {
    char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "content-length:");
    if (!end) return 0;
    if (!length) die("http: no Content-Length");
    int body = atoi(length + 15), head = (int)(end + 4 - c->in);
    if (head + body >= BUFFER) die("http: the page is too large for this client");
    if (c->in_size < head + body) return 0;
    uint64_t hash = 14695981039346656037u;
    for (int i = head; i < head + body; i++) hash = (hash ^ (uint8_t)c->in[i]) * 1099511628211u;
    if (!first_body_hash) first_body_hash = hash;
    if (hash != first_body_hash || strncmp(c->in, "HTTP/1.1 200", 12)) note_wrong(c);
    return 1;
  }
  if (c->is_set) {
    size = sprintf(expected, protocol == REDIS ? "+OK\r\n" : "STORED\r\n");
  } else if (protocol == REDIS) {
    size = sprintf(expected, "$%d\r\n", value_bytes);
  } else {
    size = sprintf(expected, "VALUE load:%d:%d 0 %d\r\n", c->number, c->key, value_bytes);
  }
  if (!c->is_set) {
    make_value(c, c->key, c->version[c->key], expected + size);
    size += value_bytes;
    size += sprintf(expected + size, protocol == REDIS ? "\r\n" : "\r\nEND\r\n");
  }
  int compared = c->in_size < size ? c->in_size : size;
  if (memcmp(c->in, expected, (size_t)compared)) {
    note_wrong(c);
    return 1;
  }
  return c->in_size >= size;
}

static void on_readable(struct connection *c, double start, double end) {
  ssize_t got = recv(c->fd, c->in + c->in_size, (size_t)(BUFFER - 1 - c->in_size), 0);
  if (got <= 0) {
    if (got < 0 && errno == EAGAIN) return;
    ended++;
    stop = 1;
    return;
  }
  c->in_size += (int)got;
  if (!c->busy || !check_reply(c)) return;
  double t = now(), latency = t - c->due;
  c->busy = 0;
  if (t >= start && t < end) {
    replies++;
    histogram[bucket_of(latency)]++;
    if (latency > max_latency) max_latency = latency;
    if (last_reply > 0 && t - last_reply > longest_gap) longest_gap = t - last_reply;
    last_reply = t;
  }
  if (rate == 0) {
    c->due = t;
    send_request(c);
  }
}

static int open_connection(const char *address, int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) die("%s is no IPv4 address", address);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (connect(fd, (void *)&to, sizeof to)) die("connect to %s:%d: %s", address, port, strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void on_signal(int signal) {
  (void)signal;
  stop = 1;
}

int main(int argc, char **argv) {
  if (argc < 4) die("usage: load redis|memcached|http ADDRESS PORT [name=value]...");
  protocol = !strcmp(argv[1], "redis") ? REDIS : !strcmp(argv[1], "memcached") ? MEMCACHED : HTTP;
  for (int i = 4; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (!value) die("%s: name=value expected", argv[i]);
    *value++ = 0;
    if (!strcmp(argv[i], "connections")) connections = atoi(value);
    else if (!strcmp(argv[i], "seconds")) seconds = atof(value);
    else if (!strcmp(argv[i], "warmup")) warmup = atof(value);
    else if (!strcmp(argv[i], "rate")) rate = atof(value);
    else if (!strcmp(argv[i], "keys")) keys = atoi(value);
    else if (!strcmp(argv[i], "bytes")) value_bytes = atoi(value);
    else if (!strcmp(argv[i], "path")) path = value;
    else die("%s is unknown", argv[i]);
  }
  if (connections < 1 || connections > MAX_CONNECTIONS || keys < 1 || keys > MAX_KEYS || value_bytes < 1 ||
      value_bytes > BUFFER / 2)
    die("out of range");
  signal(SIGTERM, on_signal);
  signal(SIGINT, on_signal);
  struct connection *all = calloc((size_t)connections, sizeof *all);
  int poll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < connections; i++) {
    all[i].number = i;
    all[i].fd = open_connection(argv[2], atoi(argv[3]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  double begin = now(), start = begin + warmup, end = start + seconds, next = begin;
  int turn = 0;
  if (rate == 0)
    for (int i = 0; i < connections; i++) {
      all[i].due = now();
      send_request(&all[i]);
    }
  while (!stop && now() < end) {
    struct epoll_event events[128];
    int wait = 50;
    if (rate > 0) {
      double t = now();
      while (next <= t) { /* the next free connection takes the next request that is due */
        int tries = 0;
        while (tries < connections && all[turn % connections].busy) turn++, tries++;
        if (tries == connections) break;
        all[turn % connections].due = next;
        send_request(&all[turn++ % connections]);
        next += 1 / rate;
      }
      wait = next > t ? 0 : 1;
      if (next - t > 0.002) wait = 1;
    }
    int got = epoll_wait(poll, events, 128, wait);
    for (int i = 0; i < got; i++) on_readable(events[i].data.ptr, start, end);
  }
  double measured = (now() < end ? now() : end) - start;
  if (measured <= 0) measured = 1e-9;
  printf("{\"requests\":%llu,\"seconds\":%.3f,\"per_second\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
         "\"max_us\":%.1f,\"longest_gap_us\":%.1f,\"wrong\":%llu,\"ended\":%llu}\n",
         (unsigned long long)replies, measured, (double)replies / measured, quantile(0.5) * 1e6, quantile(0.99) * 1e6,
         quantile(0.999) * 1e6, max_latency * 1e6, longest_gap * 1e6, (unsigned long long)wrong,
         (unsigned long long)ended);
  if (wrong) fprintf(stderr, "wrong reply: %s\n", mistake);
  return wrong || ended ? 1 : 0;
}
