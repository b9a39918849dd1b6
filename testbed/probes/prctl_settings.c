/* prctl: name, dumpable, no new privileges, timer slack, keep capabilities, seccomp mode, a named area. */
#include <sys/prctl.h>

#include "probe.h"

static void setup(void) { OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

static void each(unsigned round) {
  char name[17] = "", expected[16];
  snprintf(expected, sizeof expected, "round-%u", round);
  OK(prctl(PR_SET_NAME, expected));
  OK(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, expected) == 0);
  CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
  OK(prctl(PR_SET_DUMPABLE, round % 2));
  CHECK_EQ(prctl(PR_GET_DUMPABLE), round % 2);
  OK(prctl(PR_SET_DUMPABLE, 1));
  OK(prctl(PR_SET_TIMERSLACK, 60000UL + round));
  long slack = OK(prctl(PR_GET_TIMERSLACK));
  CHECK(slack == 60000 + round || slack == 0); /* real-time tasks have none */
  note_number(slack);
  OK(prctl(PR_SET_KEEPCAPS, round % 2));
  CHECK_EQ(prctl(PR_GET_KEEPCAPS), round % 2);
  CHECK_EQ(prctl(PR_GET_SECCOMP) & ~2, 0); /* none, or a container's filter */
  note_number(prctl(PR_CAPBSET_READ, 0));
  int tsc = 0;
  OK(prctl(PR_GET_TSC, &tsc));
  CHECK_EQ(tsc, PR_TSC_ENABLE);
  int* tid_address = NULL;
  if (prctl(PR_GET_TID_ADDRESS, &tid_address) == 0) CHECK(tid_address != NULL);
  void* area = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  (void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, area, 4096, "probe"); /* not in every kernel */
  OK(munmap(area, 4096));
  FAILS(prctl(99999, 0, 0, 0, 0), EINVAL);
  mix_text(name);
}

PROBE(.setup = setup, .round = each)
