// One traced task, as two types: a RunningTracee may be anywhere, a StoppedTracee is halted and can
// be looked at and changed. Resuming consumes the stopped one. The only file that calls ptrace().
//
// All calls for one task must come from the thread that seized it (or seized its parent). Nothing is
// undone by destructors: the kernel detaches a task that runs when the tracer thread ends, and lets
// one go on that was stopped. PTRACE_O_EXITKILL is left to the caller and is wrong for a source.
//
// A task can be killed while it is stopped; whatever is called then fails with kNotFound (or, when
// resuming, does nothing), and the end of the task comes through the WaitSource. Other errors of
// ptrace are returned as they are.
#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace migrate {

using Registers = user_regs_struct;

enum class StopKind : uint8_t {
  kSyscallEntry,
  kSyscallExit,
  kSignal,      // signal-delivery: resume with the signal, another one, or 0
  kGroupStop,   // a stop signal has taken effect: Listen() keeps the task stopped as it should be
  kInterrupt,   // asked for with Interrupt(), the first stop of a new task, or a group stop's end
  kClone,
  kFork,
  kVfork,
  kVforkDone,
  kExec,
  kExiting,     // PTRACE_EVENT_EXIT
  kSeccomp,
};
inline constexpr int kStopKinds = 12;
std::string_view Name(StopKind kind);

struct Stop {
  StopKind kind = StopKind::kInterrupt;
  int signal = 0;        // kSignal, kGroupStop
  uint64_t message = 0;  // the new tid of a clone or fork, the former tid of an exec, ...
  bool emulated = false;  // a syscall-entry whose call will not be executed (resumed with kSysemu)
};

struct Exited {
  int code = 0;
  int signal = 0;  // that killed it, or 0
};

enum class Resume : uint8_t {
  kContinue,
  kSyscall,     // to the next syscall-entry or exit
  kSysemu,      // to the next syscall-entry, which is not executed
  kSingleStep,  // one instruction; then a signal stop with SIGTRAP
  kSysemuSingleStep,
};

class RunningTracee;

class StoppedTracee {
 public:
  StoppedTracee(StoppedTracee&& other) noexcept = default;
  StoppedTracee& operator=(StoppedTracee&& other) noexcept = default;

  pid_t tid() const { return tid_; }
  const Stop& stop() const { return stop_; }

  Result<Registers> GetRegs() const;
  Result<> SetRegs(const Registers& registers) const;
  // The whole of XSAVE (floating point, vectors), as the kernel lays it out.
  Result<std::vector<std::byte>> GetXState() const;
  Result<> SetXState(const std::vector<std::byte>& state) const;

  // In a signal-delivery stop only. What is set is what the handler sees.
  Result<siginfo_t> GetSigInfo() const;
  Result<> SetSigInfo(const siginfo_t& info) const;
  // What is queued for this task (or, with `shared`, its process), at most `limit`, oldest first.
  Result<std::vector<siginfo_t>> PeekPending(bool shared, std::size_t limit) const;

  // Bit N-1 is signal N. In a task inside ppoll, sigsuspend and the like this is the mask that it
  // will have afterwards.
  Result<uint64_t> GetSigMask() const;
  Result<> SetSigMask(uint64_t mask) const;

  Result<> SetOptions(unsigned long options) const;

  // The task will come to a kInterrupt stop before it executes another instruction of its program.
  Result<> InterruptNext() const;

  // Where the task has registered its rseq area; 0 if nowhere.
  Result<uint64_t> RseqAddress() const;

  // `signal` is delivered in a signal-delivery stop, sent anew in a syscall stop, ignored in others.
  RunningTracee Go(Resume how, int signal = 0) &&;
  // After a group stop: the task stays stopped, and a SIGCONT is told as a kInterrupt.
  RunningTracee Listen() &&;
  Result<> Detach(int signal = 0) &&;
  // Gives up the stop without a call: for a task that was found to have been killed.
  RunningTracee Killed() &&;

 private:
  friend class RunningTracee;
  StoppedTracee(pid_t tid, Stop stop) : tid_(tid), stop_(stop) {}

  pid_t tid_;
  Stop stop_;
};

class RunningTracee {
 public:
  // PTRACE_SEIZE: does not disturb the task. Works on frozen tasks, with one exception that the
  // caller must avoid: a task that is frozen by the v1 freezer and stopped by a signal makes the
  // kernel wait until it is thawed. kPermissionDenied: it is traced already, has exited (a zombie),
  // or is not ours to trace.
  static Result<RunningTracee> Seize(pid_t tid, unsigned long options);
  // A task that the kernel has attached by itself, being a child of a tracee.
  static RunningTracee Adopt(pid_t tid) { return RunningTracee(tid, Resume::kContinue); }

  RunningTracee(RunningTracee&& other) noexcept = default;
  RunningTracee& operator=(RunningTracee&& other) noexcept = default;

  pid_t tid() const { return tid_; }

  // Asks for a kInterrupt stop; another stop may come first. Interrupts a blocked syscall like a
  // signal without handler does: epoll_wait and a few others return EINTR.
  Result<> Interrupt() const;

  // `status`: from waitpid, for this task.
  std::variant<StoppedTracee, Exited> Decode(int status) &&;

 private:
  friend class StoppedTracee;
  RunningTracee(pid_t tid, Resume how) : tid_(tid), resumed_(how) {}

  pid_t tid_;
  Resume resumed_;
};

}  // namespace migrate
