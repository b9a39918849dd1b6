/* setitimer: real, virtual and profiling time, once and periodic; getitimer; alarm's rest. */
#include <sys/time.h>

#include "probe.h"

static volatile sig_atomic_t alarms, virtual_alarms, profiles;

static void on_signal(int signal, siginfo_t* info, void* context) {
  (void)info, (void)context;
  if (signal == SIGALRM) alarms++;
  if (signal == SIGVTALRM) virtual_alarms++;
  if (signal == SIGPROF) profiles++;
}

static void setup(void) {
  set_handler(SIGVTALRM, on_signal, SA_RESTART);
  set_handler(SIGPROF, on_signal, SA_RESTART);
}

static void each(unsigned round) {
  unsigned left = alarm(0);
  CHECK(left > 0 && left <= probe.limit_s);
  note_number(left);
  set_handler(SIGALRM, on_signal, 0);
  struct itimerval once = {{0, 0}, {0, 2000}}, often = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}}, now;
  OK(setitimer(ITIMER_REAL, &once, NULL));
  errno = 0;
  CHECK(pause() == -1 && errno == EINTR);
  OK(getitimer(ITIMER_REAL, &now));
  CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0);
  OK(setitimer(ITIMER_REAL, &often, NULL));
  int seen = alarms;
  while (alarms < seen + 3) sleep_ms(1);
  OK(setitimer(ITIMER_REAL, &off, &now));
  CHECK_EQ(now.it_interval.tv_usec, 1000);
  note(&now, sizeof now);
  OK(setitimer(ITIMER_VIRTUAL, &often, NULL));
  OK(setitimer(ITIMER_PROF, &often, NULL));
  int a = virtual_alarms, b = profiles;
  while (virtual_alarms == a || profiles == b) {
    for (volatile int i = 0; i < 200000; i++) {
    }
    getppid();
  }
  OK(setitimer(ITIMER_VIRTUAL, &off, NULL));
  OK(setitimer(ITIMER_PROF, &off, NULL));
  default_handler(SIGALRM);
  arm_limit();
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
