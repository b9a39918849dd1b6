/* fcntl flags, and which descriptors an exec closes: the program executes itself to see. */
#include <sys/ioctl.h>

#include "probe.h"

static int stays, closes;

static int child(int argc, char** argv) {
  CHECK_EQ(argc, 4);
  OK(fcntl(atoi(argv[2]), F_GETFD));
  FAILS(fcntl(atoi(argv[3]), F_GETFD), EBADF);
  return 40;
}

static void setup(void) {
  stays = OK(open("/dev/null", O_RDWR));
  closes = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static void each(unsigned round) {
  char a[16], b[16];
  CHECK_EQ(OK(fcntl(stays, F_GETFL)) & O_ACCMODE, O_RDWR);
  CHECK_EQ(OK(fcntl(closes, F_GETFL)) & O_ACCMODE, O_RDONLY);
  OK(ioctl(stays, FIOCLEX));
  CHECK_EQ(fcntl(stays, F_GETFD), FD_CLOEXEC);
  OK(ioctl(stays, FIONCLEX));
  CHECK_EQ(fcntl(stays, F_GETFD), 0);
  OK(fcntl(stays, F_SETFL, O_NONBLOCK));
  CHECK(OK(fcntl(stays, F_GETFL)) & O_NONBLOCK);
  OK(fcntl(stays, F_SETOWN, getpid()));
  CHECK_EQ(fcntl(stays, F_GETOWN), getpid());
  if (round % 2) {
    OK(fcntl(closes, F_SETFD, FD_CLOEXEC));
  } else { /* the other way round */
    OK(fcntl(stays, F_SETFD, FD_CLOEXEC));
    OK(fcntl(closes, F_SETFD, 0));
  }
  snprintf(a, sizeof a, "%d", round % 2 ? stays : closes);
  snprintf(b, sizeof b, "%d", round % 2 ? closes : stays);
  pid_t pid = fork_limited();
  if (pid == 0) {
    execl("/proc/self/exe", program_invocation_name, "--child", a, b, (char*)NULL);
    _exit(1);
  }
  reap(pid, 40);
  OK(fcntl(stays, F_SETFD, 0));
  OK(fcntl(closes, F_SETFD, FD_CLOEXEC));
  mix_number(round);
}

PROBE(.setup = setup, .round = each, .child = child)
