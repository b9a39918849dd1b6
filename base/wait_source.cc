#include "base/wait_source.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "base/check.h"
#include "base/limits.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Neither of the two of glibc, nor those that programs take first.
int TracerSignal() { return SIGRTMAX - 3; }

sigset_t TracerSignalSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, TracerSignal());
  return set;
}

timespec ToTimespec(std::chrono::nanoseconds time) {
  return {static_cast<time_t>(time.count() / 1'000'000'000),
          static_cast<long>(time.count() % 1'000'000'000)};
}

}  // namespace

Result<ThreadWaitSource> ThreadWaitSource::Create() {
  static std::once_flag installed;
  std::call_once(installed, [] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};  // without SA_RESTART: it is there to interrupt
    CHECK(sigaction(TracerSignal(), &action, nullptr) == 0);
  });
  const sigset_t set = TracerSignalSet();
  CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  const pid_t thread = gettid();
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = TracerSignal();
  event._sigev_un._tid = thread;
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
    return ErrnoError("timer of a tracer thread");
  }
  return ThreadWaitSource(thread, timer);
}

ThreadWaitSource::ThreadWaitSource(ThreadWaitSource&& other) noexcept
    : thread_(other.thread_),
      timer_(other.timer_),
      armed_(std::exchange(other.armed_, false)),
      woken_(other.woken_.load()) {}

ThreadWaitSource::~ThreadWaitSource() {
  if (armed_) {
    timer_delete(timer_);
  }
}

void ThreadWaitSource::Wake() {
  woken_ = true;
  // If it comes between the check and waitpid() it is lost; the timer makes up for that.
  static_cast<void>(syscall(SYS_tgkill, getpid(), thread_, TracerSignal()));
}

Result<std::optional<WaitEvent>> ThreadWaitSource::Wait(pid_t tid,
                                                        std::optional<milliseconds> timeout) {
  CHECK(gettid() == thread_);
  const auto deadline = Clock::now() + timeout.value_or(milliseconds(0));
  const sigset_t set = TracerSignalSet();
  bool blocking = false;
  for (;;) {
    int status = 0;
    const pid_t found = waitpid(tid, &status, __WALL | __WNOTHREAD | (blocking ? 0 : WNOHANG));
    const int error_number = errno;
    if (blocking) {
      pthread_sigmask(SIG_BLOCK, &set, nullptr);
    }
    if (found > 0) {
      return WaitEvent{found, status};
    }
    const bool no_tracee = found < 0 && error_number == ECHILD;
    if (no_tracee && tid != kAnyTask) {
      return MakeError(ErrorCode::kNotFound, "task " + std::to_string(tid) + " is not traced by us");
    }
    if (woken_.exchange(false) || (timeout && Clock::now() >= deadline)) {
      return std::optional<WaitEvent>();
    }
    auto wait = std::chrono::nanoseconds(limits::kWaitTick);
    if (timeout) {
      wait = std::clamp<std::chrono::nanoseconds>(deadline - Clock::now(),
                                                  std::chrono::microseconds(50), wait);
    }
    if (no_tracee) {  // waitpid would not block
      const timespec pause = ToTimespec(std::min<std::chrono::nanoseconds>(wait, milliseconds(5)));
      nanosleep(&pause, nullptr);
      continue;
    }
    const itimerspec tick = {ToTimespec(limits::kWaitTick), ToTimespec(wait)};
    CHECK(timer_settime(timer_, 0, &tick, nullptr) == 0);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    blocking = true;
    if (woken_.exchange(false)) {
      pthread_sigmask(SIG_BLOCK, &set, nullptr);
      return std::optional<WaitEvent>();
    }
  }
}

}  // namespace migrate
