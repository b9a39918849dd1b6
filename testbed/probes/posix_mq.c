/* POSIX message queues: priorities, time limits, notice by signal, attributes; a message stays. */
#include <mqueue.h>

#include "probe.h"

static mqd_t queue;
static volatile sig_atomic_t notices;

static void on_notice(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  CHECK_EQ(info->si_code, SI_MESGQ);
  notices++;
}

static int send_late(void* argument) {
  (void)argument;
  sleep_ms(2);
  OK(mq_send(queue, "late", 4, 3));
  return 0;
}

static void setup(void) {
  struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 200};
  mq_unlink(unique_name("/"));
  queue = mq_open(unique_name("/"), O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
  if (queue == -1 && (errno == ENOSYS || errno == EACCES)) skip("no message queues");
  OK(queue);
  OK(mq_send(queue, "kept", 4, 1));
  set_handler(SIGRTMIN + 5, on_notice, SA_RESTART);
}

static void each(unsigned round) {
  char in[200];
  unsigned priority = 0;
  struct timespec past = {1, 0};
  struct mq_attr attributes;
  OK(mq_send(queue, "urgent", 6, 30));
  OK(mq_send(queue, "", 0, 2));
  CHECK_EQ(mq_receive(queue, in, sizeof in, &priority), 6);
  CHECK_EQ(priority, 30);
  mix(in, 6);
  CHECK_EQ(mq_receive(queue, in, sizeof in, NULL), 0);
  OK(mq_getattr(queue, &attributes));
  CHECK_EQ(attributes.mq_curmsgs, 1);
  CHECK_EQ(mq_receive(queue, in, sizeof in, &priority), 4);
  mix(in, 4);
  FAILS(mq_timedreceive(queue, in, sizeof in, &priority, &past), ETIMEDOUT);
  FAILS(mq_receive(queue, in, 10, NULL), EMSGSIZE);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 5};
  OK(mq_notify(queue, &event));
  pid_t pid = start_child(send_late, NULL);
  while (notices < (int)round) sleep_ms(1);
  reap(pid, 0);
  CHECK_EQ(mq_receive(queue, in, sizeof in, &priority), 4);
  struct mq_attr old, nonblocking = {.mq_flags = O_NONBLOCK}, blocking = {.mq_flags = 0};
  OK(mq_setattr(queue, &nonblocking, &old));
  FAILS(mq_receive(queue, in, sizeof in, NULL), EAGAIN);
  OK(mq_setattr(queue, &blocking, &old));
  CHECK_EQ(old.mq_flags, O_NONBLOCK);
  OK(mq_send(queue, "kept", 4, 1));
  mix_number(notices);
}

static void finish(void) {
  OK(mq_close(queue));
  OK(mq_unlink(unique_name("/")));
}

PROBE(.setup = setup, .round = each, .finish = finish)
