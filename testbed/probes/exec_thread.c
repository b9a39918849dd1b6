/* exec by a thread that is not the first one: the others end, and it takes the id of the process. */
#include "probe.h"

static int child(int argc, char** argv) {
  char text[4096];
  CHECK_EQ(argc, 3);
  CHECK_EQ(getpid(), atoi(argv[2]));
  CHECK_EQ(gettid(), getpid());
  read_text("/proc/self/status", text, sizeof text);
  CHECK(strstr(text, "Threads:\t1\n"));
  return 31;
}

static void* sleep_on(void* argument) {
  (void)argument;
  while (pause() == -1) {
  }
  return NULL;
}

static void* execute(void* argument) {
  char pid[16];
  (void)argument;
  snprintf(pid, sizeof pid, "%d", getpid());
  CHECK(gettid() != getpid());
  execl("/proc/self/exe", program_invocation_name, "--child", pid, (char*)NULL);
  _exit(1);
}

static int be_threads(void* argument) {
  pthread_t thread;
  (void)argument;
  for (int i = 0; i < 2; i++) ZERO(pthread_create(&thread, NULL, sleep_on, NULL));
  sleep_ms(1);
  ZERO(pthread_create(&thread, NULL, execute, NULL));
  sleep_on(NULL);
  return 1;
}

static void each(unsigned round) {
  reap(start_child(be_threads, NULL), 31);
  mix_number(round);
}

PROBE(.round = each, .child = child)
