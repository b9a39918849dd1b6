// waitpid() for one tracer thread, with a time-out and a way to be woken, behind an interface so
// that tests can play every odd order of stops.
//
// ThreadWaitSource belongs to the thread that made it, which must be the one that traces: it sees
// only tracees and children of that thread, never other children of the program, whose other
// threads in turn must wait for their own pids only. Blocked waits are ended by a real-time signal
// (kTracerSignal) that is sent to this thread only; it is blocked except while waiting, so nothing
// else sees EINTR. Wake() may be called by any thread. Fails only where the kernel refuses a timer.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <optional>

#include "base/result.h"

namespace migrate {

struct WaitEvent {
  pid_t tid = 0;
  int status = 0;  // as waitpid tells it

  bool operator==(const WaitEvent&) const = default;
};

class WaitSource {
 public:
  static constexpr pid_t kAnyTask = -1;

  virtual ~WaitSource() = default;

  // The next change of state of `tid`, in the order in which the kernel tells them. nullopt: the
  // time is over, or somebody called Wake(). kNotFound: there is no such tracee.
  virtual Result<std::optional<WaitEvent>> Wait(pid_t tid,
                                                std::optional<std::chrono::milliseconds> timeout) = 0;
};

class ThreadWaitSource : public WaitSource {
 public:
  static Result<ThreadWaitSource> Create();
  ThreadWaitSource(ThreadWaitSource&& other) noexcept;
  ThreadWaitSource& operator=(ThreadWaitSource&&) = delete;
  ~ThreadWaitSource() override;

  Result<std::optional<WaitEvent>> Wait(pid_t tid,
                                        std::optional<std::chrono::milliseconds> timeout) override;

  // Ends the wait that is going on, or the next one. A wake can come up to limits::kWaitTick late.
  void Wake();

 private:
  ThreadWaitSource(pid_t thread, timer_t timer) : thread_(thread), timer_(timer), armed_(true) {}

  pid_t thread_;
  timer_t timer_;
  bool armed_;  // owns the timer
  std::atomic<bool> woken_{false};
};

}  // namespace migrate
