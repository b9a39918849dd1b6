/* What all probes share: rounds, self-checks, the printed and the unprinted hash, scratch files.
 *
 * A probe is one program that exercises one kernel behaviour and checks itself. It defines what it
 * does once (`setup`), in each round, and at the end (all may be missing but `round`), and closes with
 * PROBE(.round = ...). See README.md for the options and the output. A failed check prints one line
 * and ends the process, also a child, with code 1; a child that failed fails its parent in reap().
 *
 * Output is written with write(2), without a buffer that fork would copy. Not for threads unless it
 * says so. Units are in the names of the options. */
#ifndef TESTBED_PROBES_PROBE_H_
#define TESTBED_PROBES_PROBE_H_

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kProbeLimit = 60, kProbeWaitLimit = 900, kProbePollMs = 10, kProbeSkipped = 77 };

struct probe_program {
  void (*setup)(void);
  void (*round)(unsigned number); /* counts from 1 */
  void (*finish)(void);
  int (*child)(int argc, char** argv); /* if the program was executed with --child */
};

static struct {
  unsigned rounds, gap_ms, limit_s;
  int wait_at; /* before which round to wait; 0: before the setup, -1: not at all */
  bool print_seen;
  const char *dir, *go;
  uint64_t hash; /* of what must be the same in every run; is printed after each round */
  uint64_t seen; /* of what the kernel gave and may differ: ids, times. It stays in memory, where a
                    replica that got something else is found out */
} probe = {.rounds = 1, .wait_at = -1, .go = "/tmp/go", .hash = 14695981039346656037u};

__attribute__((format(printf, 1, 2))) static inline void say(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, sizeof text, format, args), done = 0;
  va_end(args);
  if (length >= (int)sizeof text) length = sizeof text - 1;
  while (done < length) {
    ssize_t n = write(STDOUT_FILENO, text + done, length - done);
    if (n < 0 && errno != EINTR) _exit(1);
    if (n > 0) done += n;
  }
}

/* Not allowed or not there on this machine: a result of its own. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void skip(const char* format, ...) {
  char reason[256];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  say("PROBE-SKIP %s: %s\n", program_invocation_short_name, reason);
  _exit(kProbeSkipped);
}

__attribute__((noreturn)) static inline void check_failed(const char* file, int line,
                                                          const char* what, long a, long b) {
  int error = errno;
  say("PROBE-FAIL %s: %s:%d: %s (%ld, %ld; errno %d)\n", program_invocation_short_name, file, line,
      what, a, b, error);
  _exit(1);
}

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) check_failed(__FILE__, __LINE__, #condition, 0, 0);  \
  } while (0)
#define CHECK_EQ(a, b)                                                       \
  do {                                                                       \
    long check_a = (long)(a), check_b = (long)(b);                           \
    if (check_a != check_b)                                                  \
      check_failed(__FILE__, __LINE__, #a " == " #b, check_a, check_b);      \
  } while (0)
/* The value of a call that must not return -1. */
static inline long not_minus_one(long value, const char* file, int line, const char* what) {
  if (value == -1) check_failed(file, line, what, value, 0);
  return value;
}
#define OK(call) not_minus_one((long)(call), __FILE__, __LINE__, #call)
/* A call that must fail this way. */
#define FAILS(call, error)                                                       \
  do {                                                                           \
    errno = 0;                                                                   \
    long fails_value = (long)(call);                                             \
    if (fails_value != -1 || errno != (error))                                   \
      check_failed(__FILE__, __LINE__, #call " fails with " #error, fails_value, error); \
  } while (0)
/* For pthread functions, which return the error. */
#define ZERO(call) CHECK_EQ(call, 0)

static inline uint64_t fnv(uint64_t hash, const void* data, size_t size) {
  const unsigned char* bytes = (const unsigned char*)data;
  for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
  return hash;
}

static inline void mix(const void* data, size_t size) { probe.hash = fnv(probe.hash, data, size); }
static inline void mix_number(uint64_t value) { mix(&value, sizeof value); }
static inline void mix_text(const char* text) { mix(text, strlen(text)); }
static inline void note(const void* data, size_t size) { probe.seen = fnv(probe.seen, data, size); }
static inline void note_number(uint64_t value) { note(&value, sizeof value); }

/* Bytes that depend on `seed` only, and differ from block to block. */
static inline void fill(void* data, size_t size, uint64_t seed) {
  unsigned char* bytes = (unsigned char*)data;
  uint64_t x = seed * 2862933555777941757u + 3037000493u;
  for (size_t i = 0; i < size; i++) {
    if (i % 8 == 0) x = x * 6364136223846793005u + 1442695040888963407u;
    bytes[i] = x >> (8 + i % 8 * 7);
  }
}

/* A name below the scratch directory, valid until the eighth call after it. */
__attribute__((format(printf, 1, 2))) static inline const char* scratch(const char* format, ...) {
  static char names[8][256];
  static unsigned next;
  char* name = names[next++ % 8];
  int length = snprintf(name, 128, "%s/", probe.dir);
  va_list args;
  va_start(args, format);
  vsnprintf(name + length, 128, format, args);
  va_end(args);
  return name;
}

/* A name for what has one name space per machine (abstract sockets, shared memory, queues): the same
 * in every container, another one for each scratch directory. */
static inline const char* unique_name(const char* start) {
  static char name[128];
  snprintf(name, sizeof name, "%s%s-%08x", start, program_invocation_short_name,
           (unsigned)fnv(1, probe.dir, strlen(probe.dir)));
  return name;
}

static inline void arm_limit(void) { alarm(probe.limit_s); }

static inline void sleep_ms(unsigned ms) {
  struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

static inline pid_t fork_limited(void) {
  pid_t pid = OK(fork());
  if (pid == 0) arm_limit();
  return pid;
}

/* Runs `work` in a child process; its result is the exit code. */
static inline pid_t start_child(int (*work)(void*), void* argument) {
  pid_t pid = fork_limited();
  if (pid == 0) _exit(work(argument));
  return pid;
}

static inline int wait_status(pid_t pid) {
  int status;
  pid_t got;
  while ((got = waitpid(pid, &status, 0)) == -1 && errno == EINTR) {
  }
  CHECK_EQ(got, pid);
  return status;
}

static inline void reap(pid_t pid, int expected_code) {
  int status = wait_status(pid);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), expected_code);
}

static inline void write_all(int fd, const void* data, size_t size) {
  const char* bytes = (const char*)data;
  while (size > 0) {
    ssize_t n = write(fd, bytes, size);
    if (n == -1 && errno == EINTR) continue;
    CHECK(n > 0);
    bytes += n;
    size -= n;
  }
}

static inline void read_all(int fd, void* data, size_t size) {
  char* bytes = (char*)data;
  while (size > 0) {
    ssize_t n = read(fd, bytes, size);
    if (n == -1 && errno == EINTR) continue;
    CHECK(n > 0);
    bytes += n;
    size -= n;
  }
}

/* A file or pseudo file as text, cut at `size` - 1. */
static inline size_t read_text(const char* name, char* text, size_t size) {
  int fd = OK(open(name, O_RDONLY | O_CLOEXEC));
  size_t length = 0;
  ssize_t n;
  while (length + 1 < size && (n = OK(read(fd, text + length, size - 1 - length))) > 0) length += n;
  text[length] = 0;
  OK(close(fd));
  return length;
}

static inline void set_handler(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
  OK(sigaction(signal, &action, NULL));
}

static inline void default_handler(int signal) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  OK(sigaction(signal, &action, NULL));
}

static inline sigset_t one_signal(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

/* ---- the program around a probe ---- */

/* Until a byte comes on standard input, or the go file exists. */
static inline void wait_for_go(void) {
  struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
  alarm(kProbeWaitLimit);
  while (access(probe.go, F_OK) != 0) {
    char byte;
    if (poll(&in, 1, kProbePollMs) == 1) {
      if (read(STDIN_FILENO, &byte, 1) == 1) break;
      in.fd = -1; /* no input at all: only the file counts */
    }
  }
  arm_limit();
}

static inline unsigned number_of(const char* text) {
  char* end;
  unsigned long value = text ? strtoul(text, &end, 10) : 0;
  if (!text || *end || end == text) {
    say("a number is missing\n");
    _exit(2);
  }
  return value;
}

static inline void read_options(int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    i++;
    if (!strcmp(argv[i - 1], "--rounds")) {
      probe.rounds = number_of(value);
    } else if (!strcmp(argv[i - 1], "--gap-ms")) {
      probe.gap_ms = number_of(value);
    } else if (!strcmp(argv[i - 1], "--wait-at")) {
      probe.wait_at = number_of(value);
    } else if (!strcmp(argv[i - 1], "--dir") && value) {
      probe.dir = value;
    } else if (!strcmp(argv[i - 1], "--go") && value) {
      probe.go = value;
    } else {
      i--;
      if (!strcmp(argv[i], "--wait")) {
        probe.wait_at = 0;
      } else if (!strcmp(argv[i], "--print-seen")) {
        probe.print_seen = true;
      } else {
        say("options: [--rounds N] [--gap-ms M] [--wait | --wait-at ROUND] [--go FILE] [--dir DIR] "
            "[--print-seen]\n");
        _exit(2);
      }
    }
  }
}

static inline int probe_main(const struct probe_program* program, int argc, char** argv) {
  static char directory[128];
  snprintf(directory, sizeof directory, "/tmp/probe-%s", program_invocation_short_name);
  probe.dir = directory;
  if (program->child && argc > 1 && !strcmp(argv[1], "--child")) return program->child(argc, argv);
  read_options(argc, argv);
  probe.limit_s = kProbeLimit + probe.rounds * (probe.gap_ms / 1000 + 1);
  arm_limit();
  if (probe.wait_at == 0) wait_for_go();
  if (mkdir(probe.dir, 0755) == -1) CHECK_EQ(errno, EEXIST);
  if (program->setup) program->setup();
  for (unsigned number = 1; number <= probe.rounds; number++) {
    if ((unsigned)probe.wait_at == number) wait_for_go();
    if (number > 1 && probe.gap_ms) sleep_ms(probe.gap_ms);
    program->round(number);
    if (probe.print_seen)
      say("round %u ok %016lx seen %016lx\n", number, probe.hash, probe.seen);
    else
      say("round %u ok %016lx\n", number, probe.hash);
  }
  if (program->finish) program->finish();
  rmdir(probe.dir);
  say("PROBE-END %s\n", program_invocation_short_name);
  return 0;
}

#define PROBE(...)                                                 \
  int main(int argc, char** argv) {                                \
    static const struct probe_program program = {__VA_ARGS__};     \
    return probe_main(&program, argc, argv);                       \
  }

#endif /* TESTBED_PROBES_PROBE_H_ */
