/* User and group ids: asked for, changed by a child for good and for a while, groups, fsuid. */
#include <grp.h>
#include <sys/fsuid.h>

#include "probe.h"

static int change(void* argument) {
  gid_t groups[3] = {30, 20, 10}, told[8];
  uid_t r, e, s;
  (void)argument;
  OK(setgroups(3, groups));
  CHECK_EQ(getgroups(0, NULL), 3);
  CHECK_EQ(getgroups(8, told), 3);
  note(told, 3 * sizeof *told);
  OK(setregid(101, 102));
  OK(setresgid(103, 104, 105));
  OK(setresuid(201, 0, 203));
  OK(getresuid(&r, &e, &s));
  CHECK(r == 201 && e == 0 && s == 203);
  CHECK_EQ(setfsuid(204), 0);
  CHECK_EQ(setfsuid(0), 204);
  CHECK_EQ(setfsgid(106), 104);
  OK(setreuid(205, 206));
  CHECK(getuid() == 205 && geteuid() == 206);
  gid_t gr, ge, gs;
  OK(getresgid(&gr, &ge, &gs));
  CHECK(gr == 103 && ge == 104 && gs == 105);
  FAILS(setuid(0), EPERM);
  FAILS(setgroups(0, NULL), EPERM);
  return 25;
}

static void* stay_root(void* argument) {
  (void)argument;
  sleep_ms(1);
  return (void*)(long)geteuid(); /* glibc changes all threads */
}

static int change_threads(void* argument) {
  pthread_t thread;
  void* result;
  (void)argument;
  ZERO(pthread_create(&thread, NULL, stay_root, NULL));
  OK(setgid(300));
  OK(setuid(301));
  ZERO(pthread_join(thread, &result));
  CHECK_EQ(getuid(), 301);
  note_number((long)result);
  return 26;
}

static void setup(void) {
  if (geteuid() != 0) skip("needs root");
}

static void each(unsigned round) {
  reap(start_child(change, NULL), 25);
  reap(start_child(change_threads, NULL), 26);
  CHECK(getuid() == 0 && getegid() == getgid());
  note_number(getgid());
  OK(seteuid(400));
  CHECK(geteuid() == 400 && getuid() == 0);
  OK(seteuid(0));
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
