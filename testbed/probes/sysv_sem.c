/* System V semaphores: values, waiting, several at once, SEM_UNDO of a process that dies, time-outs. */
#include <sys/ipc.h>
#include <sys/sem.h>

#include "probe.h"

static int id;

static int take_and_give(void* argument) {
  (void)argument;
  struct sembuf take[2] = {{0, -2, 0}, {1, 1, 0}};
  OK(semop(id, take, 2)); /* waits for the parent */
  return 13;
}

static int die_holding(void* argument) {
  (void)argument;
  struct sembuf hold = {2, -1, SEM_UNDO};
  OK(semop(id, &hold, 1));
  CHECK_EQ(semctl(id, 2, GETVAL), 4);
  return 14;
}

static void setup(void) {
  unsigned short values[3] = {0, 0, 5};
  id = OK(semget(IPC_PRIVATE, 3, IPC_CREAT | 0600));
  OK(semctl(id, 0, SETALL, values));
}

static void each(unsigned round) {
  struct sembuf give = {0, 2, 0}, none = {0, -1, IPC_NOWAIT}, zero = {0, 0, 0};
  struct timespec soon = {0, 2000000};
  unsigned short values[3];
  struct semid_ds ds;
  pid_t pid = start_child(take_and_give, NULL);
  while (semctl(id, 0, GETNCNT) == 0) sleep_ms(1);
  FAILS(semop(id, &none, 1), EAGAIN);
  OK(semop(id, &give, 1));
  reap(pid, 13);
  reap(start_child(die_holding, NULL), 14);
  OK(semctl(id, 0, GETALL, values));
  CHECK(values[0] == 0 && values[1] == round && values[2] == 5);
  OK(semop(id, &zero, 1));
  none.sem_flg = 0;
  FAILS(semtimedop(id, &none, 1, &soon), EAGAIN);
  OK(semctl(id, 0, IPC_STAT, &ds));
  CHECK_EQ(ds.sem_nsems, 3);
  note(&ds, sizeof ds);
  note_number(OK(semctl(id, 1, GETPID)));
  mix(values, sizeof values);
}

static void finish(void) {
  OK(semctl(id, 0, IPC_RMID));
  FAILS(semctl(id, 0, GETVAL), EINVAL);
}

PROBE(.setup = setup, .round = each, .finish = finish)
