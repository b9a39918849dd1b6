/* fcntl record locks: held by the parent over the rounds, seen and waited for by a child. */
#include "probe.h"

static int fd;

static struct flock region(int type, off_t start, off_t length) {
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static void setup(void) {
  fd = OK(open(scratch("file"), O_RDWR | O_CREAT | O_TRUNC, 0644));
  struct flock always = region(F_WRLCK, 0, 10);
  OK(fcntl(fd, F_SETLK, &always));
}

static int contend(void* ready) {
  struct flock lock = region(F_WRLCK, 5, 100);
  OK(fcntl(fd, F_GETLK, &lock));
  CHECK_EQ(lock.l_type, F_WRLCK);
  CHECK_EQ(lock.l_start, 0);
  CHECK_EQ(lock.l_len, 10);
  CHECK_EQ(lock.l_pid, getppid());
  lock = region(F_RDLCK, 0, 1);
  errno = 0;
  CHECK(fcntl(fd, F_SETLK, &lock) == -1 && (errno == EAGAIN || errno == EACCES));
  write_all(((int*)ready)[1], "r", 1);
  lock = region(F_WRLCK, 50, 10);
  OK(fcntl(fd, F_SETLKW, &lock)); /* waits until the parent lets it go */
  return 33;
}

static void each(unsigned round) {
  int ready[2];
  char byte;
  struct flock lock = region(F_WRLCK, 50, 1);
  OK(fcntl(fd, F_SETLK, &lock));
  OK(pipe(ready));
  pid_t pid = start_child(contend, ready);
  read_all(ready[0], &byte, 1);
  sleep_ms(2);
  CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
  lock.l_type = F_UNLCK;
  OK(fcntl(fd, F_SETLK, &lock));
  reap(pid, 33);
  OK(close(ready[0]));
  OK(close(ready[1]));
  mix_number(round);
}

static void finish(void) { OK(unlink(scratch("file"))); }

PROBE(.setup = setup, .round = each, .finish = finish)
