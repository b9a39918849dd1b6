/* System V shared memory: a private and a keyed segment, attached twice, in a child, marked for removal. */
#include <sys/shm.h>

#include "probe.h"

static int id;
static char* kept;

static int write_there(void* number) {
  char* own = shmat(id, NULL, 0);
  CHECK(own != (void*)-1);
  CHECK(own != kept);
  memset(own + 4096, (int)(long)number, 100);
  OK(shmdt(own));
  kept[4096 + 100] = 'f'; /* inherited by fork */
  return 0;
}

static void setup(void) {
  id = OK(shmget(IPC_PRIVATE, 3 * 4096, IPC_CREAT | 0600));
  kept = shmat(id, NULL, 0);
  CHECK(kept != (void*)-1);
  OK(shmctl(id, IPC_RMID, NULL)); /* lives as long as it is attached */
}

static void each(unsigned round) {
  struct shmid_ds ds;
  reap(start_child(write_there, (void*)(long)(round + 1)), 0);
  CHECK_EQ(kept[4096 + 50], (char)(round + 1));
  CHECK_EQ(kept[4096 + 100], 'f');
  OK(shmctl(id, IPC_STAT, &ds));
  CHECK_EQ(ds.shm_nattch, 1);
  CHECK_EQ(ds.shm_segsz, 3 * 4096);
  note(&ds, sizeof ds);
  key_t key = (key_t)(fnv(1, unique_name(""), strlen(unique_name(""))) | 1) & 0x7fffffff;
  int keyed = OK(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
  FAILS(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
  CHECK_EQ(shmget(key, 4096, 0), keyed);
  char *once = shmat(keyed, NULL, 0), *twice = shmat(keyed, NULL, SHM_RDONLY);
  CHECK(once != (void*)-1 && twice != (void*)-1);
  strcpy(once, "both");
  CHECK(strcmp(twice, "both") == 0);
  OK(shmdt(once));
  OK(shmdt(twice));
  OK(shmctl(keyed, IPC_RMID, NULL));
  FAILS(shmctl(keyed, IPC_STAT, &ds), EINVAL);
  mix(kept, 3 * 4096);
}

PROBE(.setup = setup, .round = each)
