/* Urgent data: MSG_OOB, SIOCATMARK, SIGURG, POLLPRI, SO_OOBINLINE. */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "inet.h"

static int fds[2];
static volatile sig_atomic_t urgent;

static void on_urgent(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info, (void)context;
  urgent++;
}

static void setup(void) {
  tcp_pair(fds);
  set_handler(SIGURG, on_urgent, SA_RESTART);
  OK(fcntl(fds[1], F_SETOWN, getpid()));
}

static void each(unsigned round) {
  char back[16] = "";
  int mark = 0;
  write_all(fds[0], "abc", 3);
  CHECK_EQ(send(fds[0], "!", 1, MSG_OOB), 1);
  write_all(fds[0], "def", 3);
  await(fds[1], POLLPRI);
  while (urgent < (int)round) sleep_ms(1);
  OK(ioctl(fds[1], SIOCATMARK, &mark));
  CHECK_EQ(mark, 0);
  CHECK_EQ(recv(fds[1], back, sizeof back, 0), 3); /* stops at the mark */
  OK(ioctl(fds[1], SIOCATMARK, &mark));
  CHECK_EQ(mark, 1);
  CHECK_EQ(recv(fds[1], back + 3, 1, MSG_OOB), 1);
  CHECK_EQ(back[3], '!');
  CHECK_EQ(recv(fds[1], back + 4, 3, MSG_WAITALL), 3);
  CHECK(strcmp(back, "abc!def") == 0);
  errno = 0;
  CHECK(recv(fds[1], back, 1, MSG_OOB) == -1 && (errno == EINVAL || errno == EAGAIN));
  mix_text(back);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
