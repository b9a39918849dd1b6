#include "recorder/control_stops.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#include <array>
#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/file_util.h"
#include "base/limits.h"
#include "base/remote_calls.h"
#include "base/tracee_memory.h"
#include "recorder/beside_container.h"
#include "recorder/traced_tasks.h"

namespace migrate {
namespace {

constexpr auto kHoldTick = std::chrono::milliseconds(5);
constexpr auto kIdleTick = std::chrono::milliseconds(200);

// Raised by the task's own instructions, so that the replica raises it as well.
bool IsSynchronous(const siginfo_t& info) {
  return info.si_code > 0 && info.si_code != SI_KERNEL &&
         (info.si_signo == SIGSEGV || info.si_signo == SIGBUS || info.si_signo == SIGFPE ||
          info.si_signo == SIGILL || info.si_signo == SIGTRAP);
}
// General protection faults come with SI_KERNEL as well.
bool IsFault(const siginfo_t& info) {
  return IsSynchronous(info) || (info.si_signo == SIGSEGV && info.si_code == SI_KERNEL);
}

bool WillRestart(const Registers& registers) {
  const auto result = static_cast<int64_t>(registers.rax);
  return result <= -512 && result >= -516;
}

std::chrono::nanoseconds CpuTime(pid_t tid) {
  const auto text = ReadSmallFile("/proc/" + std::to_string(tid) + "/schedstat");
  return std::chrono::nanoseconds(text ? std::atoll(text->c_str()) : 0);
}

// Puts back clocks and TSC of all processes whose tasks are stopped; goes on after a failure.
Result<> RestoreProcesses(TracedTasks& tasks, bool tsc) {
  Result<> result;
  std::set<pid_t> processes;
  for (const auto& [tid, task] : tasks.all()) {
    if (IsStopped(task)) {
      processes.insert(task.tgid);
    }
  }
  for (const pid_t tgid : processes) {
    const auto stopped = tasks.StoppedOf(tgid);
    if (const auto restored = RestoreClocks(tgid, stopped, tasks.waits()); !restored && result) {
      result = restored;
    }
    for (StoppedTracee* task : stopped) {
      if (tsc) {
        static_cast<void>(
            RemoteSyscall(*task, tasks.waits(), SYS_prctl, {PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0}));
      }
    }
  }
  return result;
}

}  // namespace

struct ControlStops::Impl {
  explicit Impl(ControlStopsOptions given) : options(std::move(given)) {}

  ControlStopsOptions options;
  std::atomic<uint64_t> held_signals = 0, tsc_readings = 0, execs = 0, yields = 0;

  // Of the tracer thread.
  std::optional<ThreadWaitSource> waits;
  std::optional<TracedTasks> tasks;
  std::map<pid_t, ProcessClocks> clocks;  // by tgid
  int held_now = 0;

  // Between the threads.
  std::promise<Result<>> begun;
  std::promise<void> may_go;
  std::mutex mutex;
  std::optional<FrozenCgroup> end_with;  // guarded: the order to end
  bool ended = false;                    // guarded
  std::promise<Result<>> end_result;
  std::jthread thread;

  void Run(FrozenCgroup frozen);
  Result<> StopAndPatch(FrozenCgroup& frozen);
  Result<> PatchAll();
  void ResumeAll();
  void Loop();
  std::optional<FrozenCgroup> EndOrder();
  Result<> PutBack(FrozenCgroup frozen);

  void OnStop(TracedTask& task);
  void OnSignal(TracedTask& task);
  void OnExec(TracedTask& task);
  void OnEntry(TracedTask& task);
  void Continue(TracedTask& task, int signal = 0);
  bool EmulateTsc(TracedTask& task, const siginfo_t& info);
  void CheckHeld();
  void Problem(const std::string& text);
  MuteCalls MuteOf(pid_t tid) {
    return [this, tid](bool on) { options.on_muted(on ? tid : 0); };
  }
};

void ControlStops::Impl::Problem(const std::string& text) { options.on_problem(text); }

// ---- beginning and end ----

Result<> ControlStops::Impl::PatchAll() {
  std::set<pid_t> done;
  for (auto& [tid, task] : tasks->all()) {
    if (!IsStopped(task)) {
      continue;
    }
    if (options.trap_tsc) {
      const int64_t set = TRY(
          RemoteSyscall(Stopped(task), *waits, SYS_prctl, {PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0}));
      if (set != 0) {
        return ErrnoError("trap rdtsc in task " + std::to_string(tid), static_cast<int>(-set));
      }
    }
    if (!done.insert(task.tgid).second) {
      continue;
    }
    const ProcessClocks patched =
        TRY(PatchClocks(Stopped(task), *waits, options.clocks, MuteOf(tid)));
    clocks[task.tgid] = patched;
    const auto leader = tasks->all().find(task.tgid);
    const uint32_t inner = leader == tasks->all().end() ? task.inner : leader->second.inner;
    TRY(options.on_clocks(task.tgid, inner, patched));
  }
  return {};
}

Result<> ControlStops::Impl::StopAndPatch(FrozenCgroup& frozen) {
  waits.emplace(TRY(ThreadWaitSource::Create()));
  tasks.emplace(*waits);
  TRY(tasks->SeizeFrozen(options.cgroup));
  TRY(tasks->StopAll([&] { return frozen.Thaw(); }));
  return PatchAll();
}

void ControlStops::Impl::ResumeAll() {
  for (auto& [tid, task] : tasks->all()) {
    if (!IsStopped(task)) {
      continue;
    }
    if (Stopped(task).stop().kind == StopKind::kGroupStop) {
      tasks->Listen(task);
    } else {
      Continue(task);
    }
  }
}

Result<> ControlStops::Impl::PutBack(FrozenCgroup frozen) {
  Result<> result = tasks->StopAll([&] { return frozen.Thaw(); });
  const Result<> restored = RestoreProcesses(*tasks, options.trap_tsc);
  if (result) {
    result = restored;
  }
  tasks->DetachAll();
  return result;
}

std::optional<FrozenCgroup> ControlStops::Impl::EndOrder() {
  const std::lock_guard lock(mutex);
  return std::exchange(end_with, std::nullopt);
}

void ControlStops::Impl::Run(FrozenCgroup frozen) {
  RunBesideContainer(options.cpu);
  Result<> begin = StopAndPatch(frozen);
  if (!begin) {
    if (tasks) {
      static_cast<void>(tasks->StopAll([&] { return frozen.Thaw(); }));
      static_cast<void>(RestoreProcesses(*tasks, options.trap_tsc));
      tasks->DetachAll();
    }
    static_cast<void>(frozen.Thaw());
    begun.set_value(begin);
    return;
  }
  begun.set_value({});
  may_go.get_future().wait();
  ResumeAll();
  Loop();
}

void ControlStops::Impl::Loop() {
  for (;;) {
    const auto event = waits->Wait(WaitSource::kAnyTask, held_now > 0 ? kHoldTick : kIdleTick);
    if (event && *event && tasks->Update((*event)->tid, (*event)->status)) {
      OnStop(tasks->Find((*event)->tid));
    } else if (event && *event && tasks->all().empty()) {
      held_now = 0;
    }
    if (held_now > 0) {
      CheckHeld();
    }
    if (auto order = EndOrder()) {
      end_result.set_value(PutBack(std::move(*order)));
      return;
    }
  }
}

// ---- stops ----

void ControlStops::Impl::Continue(TracedTask& task, int signal) {
  tasks->Go(task, task.held.empty() ? Resume::kContinue : Resume::kSyscall, signal);
}

void ControlStops::Impl::OnStop(TracedTask& task) {
  switch (Stopped(task).stop().kind) {
    case StopKind::kSignal:
      return OnSignal(task);
    case StopKind::kGroupStop:
      return tasks->Listen(task);
    case StopKind::kExec:
      return OnExec(task);
    case StopKind::kSyscallEntry:
    case StopKind::kSyscallExit:
      return OnEntry(task);
    case StopKind::kFork:
    case StopKind::kVfork:
    case StopKind::kClone: {
      // Whoever of the two comes first: a fork's child has what its parent has.
      const pid_t parent = task.tgid;
      task.in_vfork = Stopped(task).stop().kind == StopKind::kVfork;
      const TracedTask& child = tasks->Find(static_cast<pid_t>(Stopped(task).stop().message));
      if (child.tgid != parent && clocks.contains(parent)) {
        clocks.try_emplace(child.tgid, clocks.at(parent));
      }
      return Continue(task);
    }
    case StopKind::kVforkDone:
      task.in_vfork = false;
      return Continue(task);
    case StopKind::kInterrupt:
      if (task.forced && !task.held.empty()) {
        task.forced = false;
        task.injecting = task.held.front();
        task.held.pop_front();
        --held_now;
        syscall(SYS_tgkill, task.tgid, task.tid, task.injecting->si_signo);
      }
      return Continue(task);
    case StopKind::kExiting:
    case StopKind::kSeccomp:
      return Continue(task);
  }
}

void ControlStops::Impl::OnExec(TracedTask& task) {
  // Other threads are gone, and so is this one's former id.
  const auto former = static_cast<pid_t>(Stopped(task).stop().message);
  if (former != task.tid) {
    tasks->Erase(former);
  }
  ++execs;
  task.in_vfork = false;
  auto patched = PatchClocks(Stopped(task), *waits, options.clocks, MuteOf(task.tid));
  if (patched) {
    clocks[task.tgid] = *patched;
    if (const auto told = options.on_clocks(task.tgid, task.inner, *patched); !told) {
      Problem(told.error().message);
    }
  } else if (patched.error().code != ErrorCode::kNotFound) {
    Problem(patched.error().message);
  }
  Continue(task);
}

void ControlStops::Impl::OnSignal(TracedTask& task) {
  StoppedTracee& stopped = Stopped(task);
  const int signal = stopped.stop().signal;
  const auto registers = stopped.GetRegs();
  const auto info = stopped.GetSigInfo();
  if (!registers || !info) {
    return Continue(task, signal);  // killed
  }
  if (IsTurn(*info)) {
    ++yields;  // others have run
    return Continue(task);
  }
  if (task.injecting && task.injecting->si_signo == signal) {
    static_cast<void>(stopped.SetSigInfo(*task.injecting));
    task.injecting.reset();
  } else if (options.trap_tsc && EmulateTsc(task, *info)) {
    return Continue(task);
  } else if (!IsFault(*info) && static_cast<int64_t>(registers->orig_rax) < 0) {
    if (task.held.size() >= limits::kMaxHeldSignals) {
      Problem("task " + std::to_string(task.inner) + " got more signals than can be held");
      return Continue(task, signal);
    }
    if (task.held.empty()) {
      task.cpu_at_hold = CpuTime(task.tid);
    }
    task.held.push_back(*info);
    ++held_now;
    ++held_signals;
    return Continue(task);
  }
  // A handler must not return into code that will be gone.
  const auto found = clocks.find(task.tgid);
  if (found != clocks.end() && !WillRestart(*registers)) {
    Registers moved = *registers;
    moved.rip = OutsidePatchedCode(found->second, moved.rip);
    if (moved.rip != registers->rip) {
      static_cast<void>(stopped.SetRegs(moved));
    }
  }
  Continue(task, signal);
}

// Where a held signal belongs: it interrupts this call if that blocks, and else comes at its end.
void ControlStops::Impl::OnEntry(TracedTask& task) {
  if (task.held.empty() || task.injecting) {
    return Continue(task);
  }
  task.injecting = task.held.front();
  task.held.pop_front();
  --held_now;
  Continue(task, task.injecting->si_signo);
}

void ControlStops::Impl::CheckHeld() {
  int count = 0;
  for (auto& [tid, task] : tasks->all()) {
    count += static_cast<int>(task.held.size());
    if (task.held.empty() || task.forced || IsStopped(task) ||
        CpuTime(tid) - task.cpu_at_hold < limits::kSignalHold) {
      continue;
    }
    task.forced = true;
    Problem("task " + std::to_string(task.inner) + " got signal " +
            std::to_string(task.held.front().si_signo) +
            " while it computed, and made no system call at which it could be delivered");
    static_cast<void>(std::get<RunningTracee>(task.state).Interrupt());
  }
  held_now = count;  // those of tasks that have ended are gone
}

bool ControlStops::Impl::EmulateTsc(TracedTask& task, const siginfo_t& info) {
  if (info.si_signo != SIGSEGV || info.si_code != SI_KERNEL) {
    return false;
  }
  auto registers = Stopped(task).GetRegs();
  if (!registers) {
    return false;
  }
  std::array<unsigned char, 3> code{};
  for (std::size_t i = 0; i < code.size(); ++i) {  // the last one may lie behind the mapping
    const auto byte = ReadTracee<unsigned char>(task.tid, registers->rip + i);
    code.at(i) = byte ? *byte : 0;
  }
  const bool rdtsc = code[0] == 0x0f && code[1] == 0x31;
  const bool rdtscp = code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9;
  if (!rdtsc && !rdtscp) {
    return false;
  }
  unsigned int aux = 0;
  const uint64_t reading = __rdtscp(&aux);
  if (const auto logged = options.on_tsc(task.inner, reading, registers->rip, aux); !logged) {
    Problem(logged.error().message);
  }
  registers->rax = reading & 0xffffffff;
  registers->rdx = reading >> 32;
  registers->rip += rdtsc ? 2 : 3;
  if (rdtscp) {
    registers->rcx = aux;
  }
  ++tsc_readings;
  return bool(Stopped(task).SetRegs(*registers));
}

// ---- the other threads' side ----

ControlStops::ControlStops(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<ControlStops>> ControlStops::Begin(ControlStopsOptions options,
                                                          FrozenCgroup frozen) {
  auto impl = std::make_unique<Impl>(std::move(options));
  Impl& state = *impl;
  auto begun = state.begun.get_future();
  state.thread = std::jthread(
      [&state, cgroup = std::move(frozen)]() mutable { state.Run(std::move(cgroup)); });
  if (const Result<> result = begun.get(); !result) {
    return result.error();
  }
  return std::unique_ptr<ControlStops>(new ControlStops(std::move(impl)));
}

ControlStops::~ControlStops() {
  if (!impl_->ended) {
    Go();
    if (auto frozen = FrozenCgroup::Freeze(impl_->options.cgroup)) {
      static_cast<void>(End(std::move(*frozen)));
    } else {
      // The container is gone, or cannot be frozen: the thread has to end all the same.
      static_cast<void>(End(FrozenCgroup::None()));
    }
  }
}

void ControlStops::Go() {
  try {
    impl_->may_go.set_value();
  } catch (const std::future_error&) {  // it goes already
  }
}

Result<> ControlStops::End(FrozenCgroup frozen) {
  Go();
  auto result = impl_->end_result.get_future();
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->end_with.emplace(std::move(frozen));
    impl_->ended = true;
  }
  impl_->waits->Wake();
  return result.get();
}

ControlStopsStats ControlStops::stats() const {
  return {impl_->held_signals, impl_->tsc_readings, impl_->execs, impl_->yields};
}

namespace {

Result<> PutBackFrozen(const std::filesystem::path& cgroup) {
  ThreadWaitSource waits = TRY(ThreadWaitSource::Create());
  TracedTasks tasks(waits);
  FrozenCgroup frozen = TRY(FrozenCgroup::Freeze(cgroup));
  TRY(tasks.SeizeFrozen(cgroup));
  Result<> result = tasks.StopAll([&] { return frozen.Thaw(); });
  const Result<> restored = RestoreProcesses(tasks, /*tsc=*/true);
  tasks.DetachAll();
  TRY(result);
  return restored;
}

}  // namespace

Result<> UndoControlStops(const std::filesystem::path& cgroup) {
  const auto processes = CgroupProcesses(cgroup);
  if (!processes) {
    return {};  // gone
  }
  bool patched = false;
  for (const int pid : *processes) {
    const auto found = FindPatchedClocks(pid);
    patched = patched || (found && *found);
  }
  if (!patched) {
    return {};
  }
  // Nobody was there to take away the SIGSTOP of a turn. No task was stopped when the recording
  // began.
  for (const int pid : *processes) {
    const auto status = ReadSmallFile("/proc/" + std::to_string(pid) + "/status");
    if (status && status->find("\nState:\tT") != std::string::npos) {
      kill(pid, SIGCONT);
    }
  }
  Result<> result;
  // A thread of its own: whoever traces must not have other tracees.
  std::thread([&] { result = PutBackFrozen(cgroup); }).join();
  return result;
}

}  // namespace migrate
