/* A container's program that holds many kinds of kernel objects and can say at any time whether each still works.
 *
 * One parent with a thread and three children. Listens on TCP port 7000; a line per request, a line per answer:
 *   check    tries every object: "ok N" (N: how often it was asked before), or "fail: object: why"
 *   count    counts and answers with the number
 *   objects  names of the objects that `check` tries
 * `probe once` sets up, checks three times and ends with 0 if all was well: the native run, without Docker.
 *
 * Every object keeps a state from one check to the next (unread bytes, a file position, a held lock, a sequence number),
 * so that an object that was replaced by a new one of its kind is noticed. All in one thread except where said. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPort = 7000, kChildren = 3, kClients = 64, kLine = 256 };

static char failure[kLine];
static unsigned checks; /* completed */

/* Notes why a check failed and returns 0, so that `return fail(...)` ends it. */
__attribute__((format(printf, 1, 2))) static int fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(failure, sizeof failure, format, args);
  va_end(args);
  return 0;
}

static void must(int ok, const char* what) {
  if (ok) return;
  perror(what);
  exit(2);
}

static int readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int n;
  do n = poll(&p, 1, ms);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

/* ---- a pipe whose bytes nobody has read yet ---- */

static int pipe_fds[2];
static unsigned pipe_next;

static void pipe_put(void) {
  char text[kLine];
  int n = snprintf(text, sizeof text, "unread %u;", pipe_next++);
  must(write(pipe_fds[1], text, n) == n, "pipe write");
}

static void pipe_setup(void) {
  must(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
  must(fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 17) > 0, "pipe size");
  pipe_put();
  pipe_put();
}

static int pipe_check(void) {
  char got[kLine] = "", want[kLine];
  ssize_t n = read(pipe_fds[0], got, sizeof got - 1);
  if (n < 0) return fail("unread data is lost: %s", strerror(errno));
  snprintf(want, sizeof want, "unread %u;unread %u;", pipe_next - 2, pipe_next - 1);
  if (strcmp(got, want) != 0) return fail("holds '%s', not '%s'", got, want);
  if (fcntl(pipe_fds[1], F_GETPIPE_SZ) != 1 << 17) return fail("its size has changed");
  if (!(fcntl(pipe_fds[0], F_GETFL) & O_NONBLOCK)) return fail("O_NONBLOCK is lost");
  pipe_put();
  pipe_put();
  return 1;
}

/* ---- children, each at the end of a socketpair; the memory is shared with all of them ---- */

struct Shared {
  _Atomic unsigned pings[kChildren];
};

static struct {
  pid_t pid;
  int fd;
  unsigned sent;
} children[kChildren];
static struct Shared* shared;
static volatile sig_atomic_t child_signals;

static void on_usr1(int signal) {
  (void)signal;
  child_signals = child_signals + 1;
}

/* Answers each number with its own count, and every ping also arrives as a signal and in the shared memory. */
static void child_main(int index, int fd) {
  unsigned number, answered = 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  while (read(fd, &number, sizeof number) == sizeof number) {
    if (number != answered) number = -1u;
    answered++;
    shared->pings[index]++;
    kill(getppid(), SIGUSR1);
    if (write(fd, &number, sizeof number) != sizeof number) break;
  }
  _exit(3);
}

static void children_setup(void) {
  static const int types[kChildren] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
  struct sigaction action = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  must(shared != MAP_FAILED, "mmap");
  for (int i = 0; i < kChildren; i++) {
    int pair[2];
    must(socketpair(AF_UNIX, types[i], 0, pair) == 0, "socketpair");
    fflush(stdout);
    children[i].pid = fork();
    must(children[i].pid >= 0, "fork");
    if (children[i].pid == 0) {
      close(pair[0]);
      child_main(i, pair[1]);
    }
    close(pair[1]);
    children[i].fd = pair[0];
  }
}

static int children_check(void) {
  int signals = child_signals;
  for (int i = 0; i < kChildren; i++) {
    unsigned number = children[i].sent++, answer;
    if (write(children[i].fd, &number, sizeof number) != sizeof number)
      return fail("child %d: %s", i, strerror(errno));
    if (!readable(children[i].fd, 5000)) return fail("child %d does not answer", i);
    if (read(children[i].fd, &answer, sizeof answer) != sizeof answer) return fail("child %d: short answer", i);
    if (answer != number) return fail("child %d lost its count", i);
    if (shared->pings[i] != number + 1) return fail("child %d: the shared memory says %u", i, shared->pings[i]);
    if (kill(children[i].pid, 0) != 0) return fail("child %d has another pid", i);
  }
  /* Several signals of one kind may merge into one. */
  if (child_signals == signals) return fail("no signal arrives from the children");
  return 1;
}

/* ---- a thread that waits on a condition ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER, answered = PTHREAD_COND_INITIALIZER;
static unsigned questions, answers; /* under mutex */
static __thread unsigned thread_local_count;

static void* thread_main(void* unused) {
  pthread_mutex_lock(&mutex);
  for (;;) {
    while (answers == questions) pthread_cond_wait(&asked, &mutex);
    thread_local_count++;
    answers = thread_local_count;
    pthread_cond_signal(&answered);
  }
  return unused;
}

static void thread_setup(void) {
  pthread_t thread;
  must(pthread_create(&thread, NULL, thread_main, NULL) == 0, "pthread_create");
}

static int thread_check(void) {
  struct timespec deadline;
  int error = 0;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += 5;
  pthread_mutex_lock(&mutex);
  questions++;
  pthread_cond_signal(&asked);
  while (answers != questions && error == 0) error = pthread_cond_timedwait(&answered, &mutex, &deadline);
  int ok = answers == questions;
  pthread_mutex_unlock(&mutex);
  return ok ? 1 : fail("it does not wake up or lost its thread-local count");
}

/* ---- inotify on a directory ---- */

static int inotify_fd, watch;

static void inotify_setup(void) {
  mkdir("/watched", 0755);
  inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  watch = inotify_add_watch(inotify_fd, "/watched", IN_CREATE | IN_DELETE);
  must(inotify_fd >= 0 && watch >= 0, "inotify");
}

static int inotify_event(uint32_t mask, const char* name) {
  _Alignas(struct inotify_event) char buffer[4096];
  const struct inotify_event* event = (const void*)buffer;
  if (!readable(inotify_fd, 2000)) return fail("no event for %s", name);
  ssize_t n = read(inotify_fd, buffer, sizeof buffer);
  if (n < (ssize_t)sizeof *event) return fail("%s", strerror(errno));
  if (event->wd != watch || event->mask != mask || strcmp(event->name, name) != 0)
    return fail("wrong event: watch %d mask %x name %s", event->wd, event->mask, event->len ? event->name : "");
  return 1;
}

static int inotify_check(void) {
  char name[kLine], path[kLine + 16];
  snprintf(name, sizeof name, "file%u", checks);
  snprintf(path, sizeof path, "/watched/%s", name);
  int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return fail("%s: %s", path, strerror(errno));
  close(fd);
  if (!inotify_event(IN_CREATE, name)) return 0;
  unlink(path);
  return inotify_event(IN_DELETE, name);
}

/* ---- an open file without a name, and an ordinary one whose position matters ---- */

static int unlinked_fd, kept_fd;

static void files_setup(void) {
  unlinked_fd = open("/tmp/unlinked", O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  must(unlinked_fd >= 0 && unlink("/tmp/unlinked") == 0, "unlinked file");
  kept_fd = open("/tmp/kept", O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0640);
  must(kept_fd >= 0, "kept file");
}

/* The file holds 0, 1, 2 ... as 4-byte numbers, and the position is at its end. */
static int file_check(int fd, nlink_t links) {
  struct stat status;
  unsigned last = 0;
  if (fstat(fd, &status) != 0) return fail("%s", strerror(errno));
  if (status.st_nlink != links) return fail("%lu names", (unsigned long)status.st_nlink);
  if (status.st_size != (off_t)(checks * sizeof checks)) return fail("size %lld", (long long)status.st_size);
  if (lseek(fd, 0, SEEK_CUR) != status.st_size) return fail("its position has changed");
  if (checks > 0 && (pread(fd, &last, sizeof last, status.st_size - sizeof last) != sizeof last || last != checks - 1))
    return fail("its content is wrong");
  return write(fd, &checks, sizeof checks) == sizeof checks ? 1 : fail("write: %s", strerror(errno));
}

static int unlinked_check(void) { return file_check(unlinked_fd, 0); }
static int kept_check(void) { return file_check(kept_fd, 1); }

/* ---- locks: a child process must find them taken ---- */

static int flock_fd, fcntl_fd;

static void locks_setup(void) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
  flock_fd = open("/tmp/flock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  fcntl_fd = open("/tmp/fcntl", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  must(flock_fd >= 0 && flock(flock_fd, LOCK_EX) == 0, "flock");
  must(fcntl_fd >= 0 && fcntl(fcntl_fd, F_SETLK, &lock) == 0, "fcntl lock");
}

static int in_child(int (*question)(void)) {
  int status;
  pid_t pid = fork();
  if (pid == 0) _exit(question());
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int flock_is_taken(void) {
  int fd = open("/tmp/flock", O_RDWR | O_CLOEXEC);
  return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

static int fcntl_lock_is_taken(void) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
  int fd = open("/tmp/fcntl", O_RDWR | O_CLOEXEC);
  if (fd < 0 || fcntl(fd, F_GETLK, &lock) != 0) return 0;
  return lock.l_type == F_WRLCK && lock.l_pid == getppid() && lock.l_start == 10 && lock.l_len == 5;
}

static int flock_check(void) { return in_child(flock_is_taken) == 1 ? 1 : fail("it is not held any more"); }
static int fcntl_check(void) { return in_child(fcntl_lock_is_taken) == 1 ? 1 : fail("it is not held any more"); }

/* ---- eventfd, and timers that go on ---- */

static int event_fd, timer_fd;

static void event_setup(void) {
  event_fd = eventfd(7, EFD_CLOEXEC | EFD_NONBLOCK);
  must(event_fd >= 0, "eventfd");
}

static int event_check(void) {
  uint64_t value = 0, next = 7 + checks + 1;
  if (read(event_fd, &value, sizeof value) != sizeof value) return fail("%s", strerror(errno));
  if (value != 7 + checks) return fail("holds %llu", (unsigned long long)value);
  return write(event_fd, &next, sizeof next) == sizeof next ? 1 : fail("write: %s", strerror(errno));
}

static void timer_setup(void) {
  struct itimerspec every = {.it_interval = {.tv_nsec = 20000000}, .it_value = {.tv_nsec = 20000000}};
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  must(timer_fd >= 0 && timerfd_settime(timer_fd, 0, &every, NULL) == 0, "timerfd");
}

static int timer_check(void) {
  uint64_t expired;
  while (read(timer_fd, &expired, sizeof expired) > 0) {
  }
  return readable(timer_fd, 2000) ? 1 : fail("it does not expire any more");
}

static int clock_check(void) {
  static struct timespec last;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec))
    return fail("the monotonic clock went back");
  last = now;
  return 1;
}

/* ---- the terminal, if there is one ---- */

static int has_tty;
static struct winsize tty_size;

static void tty_setup(void) { has_tty = isatty(0) && ioctl(0, TIOCGWINSZ, &tty_size) == 0; }

static int tty_check(void) {
  struct winsize size;
  if (!has_tty) return 1;
  if (!isatty(0)) return fail("stdin is not a terminal any more");
  if (ioctl(0, TIOCGWINSZ, &size) != 0) return fail("no size: %s", strerror(errno));
  if (size.ws_row != tty_size.ws_row || size.ws_col != tty_size.ws_col)
    return fail("size %dx%d, was %dx%d", size.ws_col, size.ws_row, tty_size.ws_col, tty_size.ws_row);
  return tcgetpgrp(0) == getpgrp() ? 1 : fail("not the foreground process group any more");
}

/* ---- which process this is ---- */

static pid_t pid, process_group, session;
static char host_name[kLine];

static void identity_setup(void) {
  pid = getpid(), process_group = getpgrp(), session = getsid(0);
  gethostname(host_name, sizeof host_name);
}

static int identity_check(void) {
  char name[kLine] = "";
  gethostname(name, sizeof name);
  if (getpid() != pid || getpgrp() != process_group || getsid(0) != session) return fail("pid, group or session");
  return strcmp(name, host_name) == 0 ? 1 : fail("host name %s, was %s", name, host_name);
}

static const struct {
  const char* name;
  void (*setup)(void);
  int (*check)(void);
} objects[] = {
    {"identity", identity_setup, identity_check},
    {"children", children_setup, children_check}, /* before the others' descriptors and the thread */
    {"pipe", pipe_setup, pipe_check},
    {"thread", thread_setup, thread_check},
    {"inotify", inotify_setup, inotify_check},
    {"unlinked file", files_setup, unlinked_check},
    {"file", NULL, kept_check},
    {"flock", locks_setup, flock_check},
    {"fcntl lock", NULL, fcntl_check},
    {"eventfd", event_setup, event_check},
    {"timerfd", timer_setup, timer_check},
    {"clock", NULL, clock_check},
    {"tty", tty_setup, tty_check},
};
enum { kObjects = sizeof objects / sizeof objects[0] };

static void check_all(char* answer, size_t size) {
  for (int i = 0; i < kObjects; i++) {
    if (objects[i].check()) continue;
    snprintf(answer, size, "fail: %s: %s\n", objects[i].name, failure);
    return;
  }
  snprintf(answer, size, "ok %u\n", checks++);
}

/* ---- the server; epoll and its registrations are objects too ---- */

static struct {
  int fd;
  size_t used;
  char line[kLine];
} clients[kClients]; /* index: what epoll returns; fd 0: free */

static void answer_line(int fd, const char* line) {
  static unsigned count;
  char answer[1024] = "fail: unknown request\n";
  if (strcmp(line, "check") == 0) {
    check_all(answer, sizeof answer);
  } else if (strcmp(line, "count") == 0) {
    snprintf(answer, sizeof answer, "%u\n", ++count);
  } else if (strcmp(line, "objects") == 0) {
    size_t used = 0;
    for (int i = 0; i < kObjects; i++)
      used += snprintf(answer + used, sizeof answer - used, "%s%s", objects[i].name, i + 1 < kObjects ? "," : "\n");
  }
  (void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
}

static void serve_client(int index) {
  ssize_t n = read(clients[index].fd, clients[index].line + clients[index].used, kLine - 1 - clients[index].used);
  if (n < 0 && errno == EINTR) return;
  clients[index].used += n > 0 ? n : 0;
  if (n <= 0 || clients[index].used == kLine - 1) {
    close(clients[index].fd);
    clients[index].fd = 0;
    return;
  }
  char* end;
  clients[index].line[clients[index].used] = 0;
  while ((end = strchr(clients[index].line, '\n'))) {
    *end = 0;
    answer_line(clients[index].fd, clients[index].line);
    clients[index].used -= end + 1 - clients[index].line;
    memmove(clients[index].line, end + 1, clients[index].used + 1);
  }
}

static void accept_client(int listener, int epoll_fd) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  for (int i = 0; i < kClients; i++) {
    if (clients[i].fd != 0) continue;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    clients[i].fd = fd;
    clients[i].used = 0;
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    return;
  }
  close(fd);
}

static void serve(void) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(kPort)};
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = kClients};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  must(bind(listener, (void*)&address, sizeof address) == 0 && listen(listener, 64) == 0, "listen");
  must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0, "epoll_ctl");
  printf("probe: ready on port %d%s\n", kPort, has_tty ? ", with a terminal" : "");
  fflush(stdout);
  for (;;) {
    struct epoll_event ready[16];
    int n = epoll_wait(epoll_fd, ready, 16, -1);
    for (int i = 0; i < n; i++) {
      if (ready[i].data.u32 == kClients)
        accept_client(listener, epoll_fd);
      else
        serve_client(ready[i].data.u32);
    }
  }
}

static void on_term(int signal) {
  (void)signal;
  _exit(0);
}

int main(int argc, char** argv) {
  signal(SIGTERM, on_term); /* as pid 1 there is no default action */
  for (int i = 0; i < kObjects; i++)
    if (objects[i].setup) objects[i].setup();
  if (argc < 2 || strcmp(argv[1], "once") != 0) serve();
  char answer[1024];
  for (int i = 0; i < 3; i++) {
    check_all(answer, sizeof answer);
    fputs(answer, stdout);
    if (answer[0] != 'o') return 1;
  }
  return 0;
}
