// Executes syscalls in a stopped task with its own registers put aside. Begin() borrows the registers
// and blocks all signals, Call() runs one syscall, End() puts everything back and leaves the task
// stopped as it was, so that it goes on exactly as it would have: an interrupted syscall (-ERESTART*)
// is restarted, a syscall at its entry is entered again.
//
// Belongs to the tracer thread. Borrows the StoppedTracee, which must stay where it is, and whose
// stop() changes. Without End() the task stays with borrowed registers: only for one that was
// killed. kNotFound: it was; its end may or may not come through the WaitSource.
//
// Where it works: interrupt and group stops, syscall-entry and syscall-exit. An emulated entry
// (kSysemu) and an exec stop end as the syscall-exit of that call. Elsewhere kFailedPrecondition:
// deliver or suppress the signal first, or let a clone come to its end.
//
// The task must be able to run: one in a frozen cgroup executes nothing, even if it is resumed
// (kDeadlineExceeded, and the task is lost to the caller until it is thawed). So a whole container
// is called into while it is thawed with all its tasks in a ptrace stop.
//
// Effects that remain: SIGSTOP that arrives meanwhile is sent again at End(), as SI_TKILL; a call
// that uses a restart block (nanosleep, poll, futex with a time-out) must not be made in a task whose
// own syscall is to be restarted from one; a seccomp filter of the task applies to the calls.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>

#include "base/limits.h"
#include "base/tracee.h"
#include "base/wait_source.h"

namespace migrate {

class RemoteCalls {
 public:
  static Result<RemoteCalls> Begin(StoppedTracee& tracee, WaitSource& waits,
                                   std::chrono::milliseconds timeout = limits::kRemoteCallTimeout);
  RemoteCalls(RemoteCalls&&) noexcept = default;
  RemoteCalls& operator=(RemoteCalls&&) = delete;

  // The value that the kernel returned: negative errno on failure.
  Result<int64_t> Call(long number, std::initializer_list<uint64_t> arguments);

  // Below the stack of the task, 16-byte aligned: scratch space that the caller may write before a
  // Call() and must put back itself (WriteTracee).
  uint64_t Scratch(std::size_t size) const;

  const Registers& registers() const { return saved_; }
  Result<> End() &&;

 private:
  RemoteCalls(StoppedTracee& tracee, WaitSource& waits, std::chrono::milliseconds timeout)
      : tracee_(&tracee), waits_(&waits), timeout_(timeout) {}

  Result<> Enter();
  Result<> LeaveRseqSection();
  Result<uint64_t> FindSyscallInstruction() const;
  Result<> RunTo(Resume how, StopKind wanted);

  StoppedTracee* tracee_;
  WaitSource* waits_;
  std::chrono::milliseconds timeout_;
  StopKind origin_ = StopKind::kInterrupt;
  Registers saved_ = {};
  uint64_t mask_ = 0;
  uint64_t instruction_ = 0;  // address of a `syscall`
  bool called_ = false;
  bool owes_sigstop_ = false;
};

// One call, from stop to stop.
Result<int64_t> RemoteSyscall(StoppedTracee& tracee, WaitSource& waits, long number,
                              std::initializer_list<uint64_t> arguments);

}  // namespace migrate
