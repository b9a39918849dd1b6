/* close_range: a range is closed at once, or marked for the next exec. */
#include <linux/close_range.h>
#include <sys/syscall.h>

#include "probe.h"

static void each(unsigned round) {
  for (int fd = 200; fd < 220; fd++) CHECK_EQ(dup2(STDOUT_FILENO, fd), fd);
  if (syscall(SYS_close_range, 200, 209, 0) == -1) {
    if (errno == ENOSYS || errno == EPERM) skip("close_range is not allowed");
    OK(-1);
  }
  for (int fd = 200; fd < 210; fd++) FAILS(fcntl(fd, F_GETFD), EBADF);
  OK(syscall(SYS_close_range, 210, ~0u, CLOSE_RANGE_CLOEXEC));
  for (int fd = 210; fd < 220; fd++) CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
  OK(syscall(SYS_close_range, 210, ~0u, 0));
  FAILS(fcntl(210, F_GETFD), EBADF);
  mix_number(round);
}

PROBE(.round = each)
