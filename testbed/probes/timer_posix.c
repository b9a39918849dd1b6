/* timer_create: by signal, by thread id, without notice; overruns; one is armed over the rounds. */
#include "probe.h"

static volatile sig_atomic_t count, value;
static timer_t by_signal, silent, kept;

static void on_timer(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  CHECK_EQ(info->si_code, SI_TIMER);
  value = info->si_value.sival_int;
  count++;
}

static void setup(void) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
  event.sigev_value.sival_int = 987;
  set_handler(SIGRTMIN + 4, on_timer, 0);
  OK(timer_create(CLOCK_MONOTONIC, &event, &by_signal));
  event.sigev_notify = SIGEV_NONE;
  OK(timer_create(CLOCK_REALTIME, &event, &silent));
  OK(timer_create(CLOCK_BOOTTIME, &event, &kept));
  struct itimerspec long_time = {{0, 0}, {1000, 0}};
  OK(timer_settime(kept, 0, &long_time, NULL));
}

static void each(unsigned round) {
  struct itimerspec once = {{0, 0}, {0, 2000000}}, off = {{0, 0}, {0, 0}}, often = {{0, 1000000}, {0, 1000000}}, now;
  sigset_t set = one_signal(SIGRTMIN + 4), old;
  count = 0;
  OK(timer_settime(by_signal, 0, &once, NULL));
  while (count == 0) sleep_ms(1);
  CHECK_EQ(value, 987);
  OK(sigprocmask(SIG_BLOCK, &set, &old));
  OK(timer_settime(by_signal, 0, &often, NULL));
  sleep_ms(6);
  siginfo_t info;
  CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 4);
  CHECK(info.si_overrun > 0);
  note_number(info.si_overrun);
  OK(timer_settime(by_signal, 0, &off, &now));
  CHECK_EQ(now.it_interval.tv_nsec, 1000000);
  struct timespec none = {0, 0};
  while (sigtimedwait(&set, NULL, &none) > 0) { /* expired meanwhile; newer kernels drop it */
  }
  OK(sigprocmask(SIG_SETMASK, &old, NULL));
  note_number(OK(timer_getoverrun(by_signal)));
  OK(timer_settime(silent, 0, &once, NULL));
  OK(timer_gettime(silent, &now));
  CHECK(now.it_value.tv_nsec <= 2000000);
  OK(timer_gettime(kept, &now));
  CHECK(now.it_value.tv_sec > 900 && now.it_value.tv_sec <= 1000);
  note(&now, sizeof now);
  mix_number(round);
}

static void finish(void) {
  OK(timer_delete(by_signal));
  OK(timer_delete(silent));
  OK(timer_delete(kept));
  FAILS(timer_delete(kept), EINVAL);
}

PROBE(.setup = setup, .round = each, .finish = finish)
