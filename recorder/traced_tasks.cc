#include "recorder/traced_tasks.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/limits.h"
#include "recorder/process_scan.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kWaitSlice = std::chrono::milliseconds(20);
constexpr unsigned long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                                   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                   PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXEC;

// The field of /proc/TID/status, its last word.
std::string LastWord(std::string_view status, std::string_view field) {
  const auto at = status.find("\n" + std::string(field) + ":");
  if (at == std::string_view::npos) {
    return {};
  }
  const std::string_view line = status.substr(at + 1, status.find('\n', at + 1) - at - 1);
  return std::string(line.substr(line.find_last_of(" \t") + 1));
}

struct Identity {
  pid_t tgid = 0;
  uint32_t inner = 0;
  char state = '?';
};
std::optional<Identity> Identify(pid_t tid) {
  const auto text = ReadSmallFile("/proc/" + std::to_string(tid) + "/status");
  if (!text) {
    return std::nullopt;
  }
  Identity identity;
  identity.tgid = ToInt(LastWord(*text, "Tgid"));
  identity.inner = static_cast<uint32_t>(ToInt(LastWord(*text, "NSpid")));
  const auto at = text->find("\nState:\t");
  identity.state = at == std::string::npos ? '?' : (*text)[at + 8];
  return identity;
}

bool TakesCalls(StopKind kind) {
  return kind == StopKind::kInterrupt || kind == StopKind::kGroupStop ||
         kind == StopKind::kSyscallEntry || kind == StopKind::kSyscallExit ||
         kind == StopKind::kExec;
}

}  // namespace

Result<> TracedTasks::SeizeFrozen(const std::filesystem::path& cgroup) {
  bool found = true;
  while (found) {
    found = false;
    for (const pid_t tid : TRY(CgroupTasks(cgroup))) {
      if (tasks_.contains(tid)) {
        continue;
      }
      const auto identity = Identify(tid);
      if (!identity || identity->state == 'Z' || identity->state == 'X') {
        continue;
      }
      if (identity->state == 'T') {  // the kernel would make us wait until it is thawed
        return MakeError(ErrorCode::kFailedPrecondition,
                         "task " + std::to_string(tid) + " is stopped by a signal", "TASK_STOPPED");
      }
      auto running = RunningTracee::Seize(tid, kOptions);
      if (!running) {
        if (running.error().code == ErrorCode::kNotFound) {
          continue;
        }
        return running.error();
      }
      tasks_.emplace(tid, TracedTask{.tid = tid,
                                     .tgid = identity->tgid,
                                     .inner = identity->inner,
                                     .state = std::move(*running),
                                     .held = {},
                                     .injecting = {}});
      found = true;
    }
  }
  return {};
}

TracedTask& TracedTasks::Find(pid_t tid) {
  const auto it = tasks_.find(tid);
  if (it != tasks_.end()) {
    return it->second;
  }
  const Identity identity = Identify(tid).value_or(Identity{tid, 0, '?'});
  return tasks_
      .emplace(tid, TracedTask{.tid = tid,
                               .tgid = identity.tgid,
                               .inner = identity.inner,
                               .state = RunningTracee::Adopt(tid),
                               .held = {},
                               .injecting = {}})
      .first->second;
}

bool TracedTasks::Update(pid_t tid, int status) {
  TracedTask& task = Find(tid);
  if (IsStopped(task)) {  // killed while it was stopped, or replaced by a thread that made an exec
    task.state = std::move(Stopped(task)).Killed();
  }
  auto next = std::move(std::get<RunningTracee>(task.state)).Decode(status);
  if (std::holds_alternative<Exited>(next)) {
    tasks_.erase(tid);
    return false;
  }
  task.state = std::get<StoppedTracee>(std::move(next));
  return true;
}

void TracedTasks::Go(TracedTask& task, Resume how, int signal) {
  task.state = std::move(Stopped(task)).Go(how, signal);
}

void TracedTasks::Listen(TracedTask& task) { task.state = std::move(Stopped(task)).Listen(); }

std::vector<StoppedTracee*> TracedTasks::StoppedOf(pid_t tgid) {
  std::vector<StoppedTracee*> found;
  for (auto& [tid, task] : tasks_) {
    if (task.tgid == tgid && IsStopped(task)) {
      found.push_back(&Stopped(task));
    }
  }
  return found;
}

// Untraced, it would stop the task for good.
bool TracedTasks::HasPendingTurn(TracedTask& task) {
  const auto pending = Stopped(task).PeekPending(/*shared=*/false, limits::kMaxHeldSignals);
  return pending && std::any_of(pending->begin(), pending->end(), IsTurn);
}

// False: the stop is none to stay in; the task has been sent on to the next one.
bool TracedTasks::Settle(TracedTask& task) {
  StoppedTracee& stopped = Stopped(task);
  const Stop stop = stopped.stop();
  if (TakesCalls(stop.kind)) {
    if (stop.kind == StopKind::kInterrupt && HasPendingTurn(task)) {
      Go(task, Resume::kContinue);  // to the stop of that signal, where it is taken away
      return false;
    }
    return true;
  }
  if (stop.kind == StopKind::kSignal) {
    if (const auto info = stopped.GetSigInfo(); info && !IsTurn(*info)) {
      task.held.push_back(*info);
    }
  }
  task.in_vfork = stop.kind == StopKind::kVfork;
  static_cast<void>(stopped.InterruptNext());
  Go(task, Resume::kContinue);
  return false;
}

Result<> TracedTasks::StopAll(const std::function<Result<>()>& thaw) {
  for (auto& [tid, task] : tasks_) {
    if (!IsStopped(task)) {
      static_cast<void>(std::get<RunningTracee>(task.state).Interrupt());  // may have ended
    }
  }
  TRY(thaw());
  const auto deadline = Clock::now() + limits::kSeizeTimeout;
  for (;;) {
    pid_t missing = 0;
    std::vector<pid_t> stopped;
    for (auto& [tid, task] : tasks_) {
      IsStopped(task) ? stopped.push_back(tid) : void(missing = task.in_vfork ? missing : tid);
    }
    for (const pid_t tid : stopped) {
      TracedTask& task = tasks_.at(tid);
      missing = Settle(task) || task.in_vfork ? missing : tid;
    }
    if (missing == 0) {
      return {};
    }
    const auto event = TRY(waits_.Wait(WaitSource::kAnyTask, kWaitSlice));
    if (event) {
      Update(event->tid, event->status);
    } else if (Clock::now() > deadline) {
      return MakeError(ErrorCode::kDeadlineExceeded,
                       "task " + std::to_string(missing) + " could not be stopped");
    }
  }
}

// At an interrupt stop: sends the oldest held signal again and lets the task come to its delivery.
bool TracedTasks::DeliverHeld(TracedTask& task) {
  const siginfo_t info = task.held.front();
  task.held.pop_front();
  const auto mask = Stopped(task).GetSigMask();
  if (syscall(SYS_tgkill, task.tgid, task.tid, info.si_signo) != 0 || !mask ||
      (*mask >> (info.si_signo - 1) & 1) != 0) {
    return true;  // blocked by now: it stays pending
  }
  Go(task, Resume::kContinue);  // not one instruction before the delivery
  const auto deadline = Clock::now() + limits::kRemoteCallTimeout;
  while (Clock::now() < deadline) {
    const auto event = waits_.Wait(task.tid, kWaitSlice);
    if (!event) {
      return false;
    }
    if (!*event) {
      continue;
    }
    const pid_t tid = task.tid;
    if (!Update(tid, (*event)->status)) {
      return false;
    }
    StoppedTracee& stopped = Stopped(task);
    if (stopped.stop().kind != StopKind::kSignal) {
      return true;  // delivered
    }
    if (stopped.stop().signal == info.si_signo) {
      static_cast<void>(stopped.SetSigInfo(info));
    }
    static_cast<void>(stopped.InterruptNext());
    Go(task, Resume::kContinue, stopped.stop().signal);
  }
  return false;
}

void TracedTasks::DetachAll() {
  std::vector<pid_t> tids;
  for (const auto& [tid, task] : tasks_) {
    tids.push_back(tid);
  }
  for (const pid_t tid : tids) {
    const auto it = tasks_.find(tid);
    if (it == tasks_.end() || !IsStopped(it->second)) {
      continue;
    }
    while (!it->second.held.empty()) {
      if (!DeliverHeld(it->second)) {
        break;
      }
    }
    if (tasks_.contains(tid) && IsStopped(it->second)) {
      static_cast<void>(std::move(Stopped(it->second)).Detach());
    }
  }
  tasks_.clear();
}

}  // namespace migrate
