// The tasks of a container that one thread traces: seizing all of them, bringing all into stops,
// letting them go. For control_stops.cc only, which says what happens in between. Belongs to the
// tracer thread; when that thread ends the kernel lets go whatever is still traced.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/tracee.h"
#include "base/wait_source.h"

namespace migrate {

struct TracedTask {
  pid_t tid = 0;  // of the host
  pid_t tgid = 0;
  uint32_t inner = 0;  // as the container numbers it
  std::variant<RunningTracee, StoppedTracee> state;
  std::deque<siginfo_t> held;          // signals that wait for the next system call
  std::optional<siginfo_t> injecting;  // sent again; its siginfo is put back when it is delivered
  std::chrono::nanoseconds cpu_at_hold{};
  bool forced = false;    // has waited too long
  bool in_vfork = false;  // the kernel holds it until its child has a memory of its own
};

class TracedTasks {
 public:
  explicit TracedTasks(WaitSource& waits) : waits_(waits) {}

  // All of the cgroup, whose tasks are frozen. On an error nothing is traced.
  Result<> SeizeFrozen(const std::filesystem::path& cgroup);
  // Asks all that run for a stop, then (after `thaw`) waits until all are in one that RemoteCalls
  // takes. Signals that come meanwhile are held.
  Result<> StopAll(const std::function<Result<>()>& thaw);
  // Lets all go on untraced; held signals are delivered first.
  void DetachAll();

  // The task of an event; one that is not known was born just now.
  TracedTask& Find(pid_t tid);
  void Erase(pid_t tid) { tasks_.erase(tid); }
  // The new state that `status` tells; false: the task has ended and is forgotten.
  bool Update(pid_t tid, int status);

  void Go(TracedTask& task, Resume how, int signal = 0);
  void Listen(TracedTask& task);

  std::map<pid_t, TracedTask>& all() { return tasks_; }
  std::vector<StoppedTracee*> StoppedOf(pid_t tgid);
  WaitSource& waits() { return waits_; }

 private:
  bool Settle(TracedTask& task);
  bool DeliverHeld(TracedTask& task);
  bool HasPendingTurn(TracedTask& task);

  WaitSource& waits_;
  std::map<pid_t, TracedTask> tasks_;
};

// The kernel's SIGSTOP that only makes a task give up the CPU (Capture::YieldAfterNextCall): never
// to be delivered.
inline bool IsTurn(const siginfo_t& info) {
  return info.si_signo == SIGSTOP && info.si_code == SI_KERNEL;
}

inline bool IsStopped(const TracedTask& task) {
  return std::holds_alternative<StoppedTracee>(task.state);
}
inline StoppedTracee& Stopped(TracedTask& task) { return std::get<StoppedTracee>(task.state); }

}  // namespace migrate
