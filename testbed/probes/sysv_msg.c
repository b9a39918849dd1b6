/* System V message queues: by type, in order, waiting, too large; one message stays over the rounds. */
#include <sys/ipc.h>
#include <sys/msg.h>

#include "probe.h"

struct message {
  long type;
  char text[3000];
};
static int id;

static void send_text(long type, const char* text, size_t length) {
  struct message message = {.type = type};
  memcpy(message.text, text, length);
  OK(msgsnd(id, &message, length, 0));
}

static int answer(void* argument) {
  struct message message;
  (void)argument;
  CHECK_EQ(msgrcv(id, &message, sizeof message.text, 5, 0), 8); /* waits */
  CHECK(memcmp(message.text, "question", 8) == 0);
  send_text(6, "answer", 6);
  return 15;
}

static void setup(void) {
  id = OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
  send_text(9, "first", 5);
}

static void each(unsigned round) {
  struct message in;
  struct msqid_ds ds;
  char large[3000];
  pid_t pid = start_child(answer, NULL);
  sleep_ms(1);
  send_text(5, "question", 8);
  CHECK_EQ(msgrcv(id, &in, sizeof in.text, 6, 0), 6);
  mix(in.text, 6);
  reap(pid, 15);
  CHECK_EQ(msgrcv(id, &in, sizeof in.text, -9, 0), 5); /* the lowest type up to 9 */
  CHECK_EQ(in.type, 9);
  FAILS(msgrcv(id, &in, sizeof in.text, 0, IPC_NOWAIT), ENOMSG);
  fill(large, sizeof large, round);
  send_text(2, large, sizeof large);
  FAILS(msgrcv(id, &in, 100, 2, 0), E2BIG);
  OK(msgctl(id, IPC_STAT, &ds));
  CHECK_EQ(ds.msg_qnum, 1);
  note(&ds, sizeof ds);
  CHECK_EQ(msgrcv(id, &in, 100, 2, MSG_NOERROR), 100);
  CHECK(memcmp(in.text, large, 100) == 0);
  mix(in.text, 100);
  send_text(9, "later", 5);
}

static void finish(void) { OK(msgctl(id, IPC_RMID, NULL)); }

PROBE(.setup = setup, .round = each, .finish = finish)
