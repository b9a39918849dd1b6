#include "base/tracee.h"

#include <elf.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/check.h"

namespace migrate {
namespace {

// Larger than any XSAVE area so far: AMX makes it 11 KB.
constexpr std::size_t kMaxXState = 64 * 1024;

// PTRACE_EVENTMSG_SYSCALL_ENTRY, which glibc's header lacks and the kernel's cannot stand beside it.
constexpr unsigned long kMessageSyscallEntry = 1;

Error TraceError(const char* what, pid_t tid) {
  const int error_number = errno;
  Error error = ErrnoError(std::string(what) + " of task " + std::to_string(tid), error_number);
  if (error_number == ESRCH) {
    error.code = ErrorCode::kNotFound;
  }
  return error;
}

Result<> Check(long outcome, const char* what, pid_t tid) {
  if (outcome < 0) {
    return TraceError(what, tid);
  }
  return {};
}

// Resuming a task that was killed meanwhile is no error: it runs, to its end.
void CheckResumed(long outcome) { CHECK(outcome == 0 || errno == ESRCH); }

__ptrace_request Request(Resume how) {
  switch (how) {
    case Resume::kContinue:
      return PTRACE_CONT;
    case Resume::kSyscall:
      return PTRACE_SYSCALL;
    case Resume::kSysemu:
      return PTRACE_SYSEMU;
    case Resume::kSingleStep:
      return PTRACE_SINGLESTEP;
    case Resume::kSysemuSingleStep:
      return PTRACE_SYSEMU_SINGLESTEP;
  }
  CHECK(false);
  return PTRACE_CONT;
}

bool IsStopSignal(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

StopKind EventKind(int event, int signal) {
  switch (event) {
    case PTRACE_EVENT_STOP:
      return IsStopSignal(signal) ? StopKind::kGroupStop : StopKind::kInterrupt;
    case PTRACE_EVENT_CLONE:
      return StopKind::kClone;
    case PTRACE_EVENT_FORK:
      return StopKind::kFork;
    case PTRACE_EVENT_VFORK:
      return StopKind::kVfork;
    case PTRACE_EVENT_VFORK_DONE:
      return StopKind::kVforkDone;
    case PTRACE_EVENT_EXEC:
      return StopKind::kExec;
    case PTRACE_EVENT_EXIT:
      return StopKind::kExiting;
    case PTRACE_EVENT_SECCOMP:
      return StopKind::kSeccomp;
    default:
      CHECK(false);
  }
  return StopKind::kInterrupt;
}

Stop DecodeStop(pid_t tid, int status, Resume resumed) {
  Stop stop;
  const int event = status >> 16;
  const int signal = WSTOPSIG(status);
  const bool syscall_stop = event == 0 && signal == (SIGTRAP | 0x80);
  if (event != 0 || syscall_stop) {
    unsigned long message = 0;
    if (ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &message) == 0) {
      stop.message = message;
    }
  }
  if (syscall_stop) {
    stop.kind = stop.message == kMessageSyscallEntry ? StopKind::kSyscallEntry
                                                              : StopKind::kSyscallExit;
    stop.emulated = stop.kind == StopKind::kSyscallEntry &&
                    (resumed == Resume::kSysemu || resumed == Resume::kSysemuSingleStep);
  } else if (event != 0) {
    stop.kind = EventKind(event, signal);
    stop.signal = stop.kind == StopKind::kGroupStop ? signal : 0;
  } else {
    stop.kind = StopKind::kSignal;
    stop.signal = signal;
  }
  return stop;
}

}  // namespace

std::string_view Name(StopKind kind) {
  switch (kind) {
    case StopKind::kSyscallEntry:
      return "syscall-entry";
    case StopKind::kSyscallExit:
      return "syscall-exit";
    case StopKind::kSignal:
      return "signal-delivery";
    case StopKind::kGroupStop:
      return "group-stop";
    case StopKind::kInterrupt:
      return "interrupt";
    case StopKind::kClone:
      return "clone";
    case StopKind::kFork:
      return "fork";
    case StopKind::kVfork:
      return "vfork";
    case StopKind::kVforkDone:
      return "vfork-done";
    case StopKind::kExec:
      return "exec";
    case StopKind::kExiting:
      return "exit";
    case StopKind::kSeccomp:
      return "seccomp";
  }
  return "?";
}

Result<Registers> StoppedTracee::GetRegs() const {
  Registers registers = {};
  TRY(Check(ptrace(PTRACE_GETREGS, tid_, nullptr, &registers), "read registers", tid_));
  return registers;
}

Result<> StoppedTracee::SetRegs(const Registers& registers) const {
  return Check(ptrace(PTRACE_SETREGS, tid_, nullptr, &registers), "set registers", tid_);
}

Result<std::vector<std::byte>> StoppedTracee::GetXState() const {
  std::vector<std::byte> state(kMaxXState);
  iovec range = {state.data(), state.size()};
  TRY(Check(ptrace(PTRACE_GETREGSET, tid_, NT_X86_XSTATE, &range), "read xstate", tid_));
  state.resize(range.iov_len);
  return state;
}

Result<> StoppedTracee::SetXState(const std::vector<std::byte>& state) const {
  iovec range = {const_cast<std::byte*>(state.data()), state.size()};
  return Check(ptrace(PTRACE_SETREGSET, tid_, NT_X86_XSTATE, &range), "set xstate", tid_);
}

Result<siginfo_t> StoppedTracee::GetSigInfo() const {
  siginfo_t info = {};
  TRY(Check(ptrace(PTRACE_GETSIGINFO, tid_, nullptr, &info), "read siginfo", tid_));
  return info;
}

Result<> StoppedTracee::SetSigInfo(const siginfo_t& info) const {
  return Check(ptrace(PTRACE_SETSIGINFO, tid_, nullptr, &info), "set siginfo", tid_);
}

Result<std::vector<siginfo_t>> StoppedTracee::PeekPending(bool shared, std::size_t limit) const {
  std::vector<siginfo_t> pending(limit);
  __ptrace_peeksiginfo_args arguments = {};
  arguments.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0;
  arguments.nr = static_cast<int>(limit);
  const long count = ptrace(PTRACE_PEEKSIGINFO, tid_, &arguments, pending.data());
  TRY(Check(count, "read pending signals", tid_));
  pending.resize(static_cast<std::size_t>(count));
  return pending;
}

Result<uint64_t> StoppedTracee::GetSigMask() const {
  uint64_t mask = 0;
  TRY(Check(ptrace(PTRACE_GETSIGMASK, tid_, sizeof mask, &mask), "read signal mask", tid_));
  return mask;
}

Result<> StoppedTracee::SetSigMask(uint64_t mask) const {
  return Check(ptrace(PTRACE_SETSIGMASK, tid_, sizeof mask, &mask), "set signal mask", tid_);
}

Result<> StoppedTracee::SetOptions(unsigned long options) const {
  return Check(ptrace(PTRACE_SETOPTIONS, tid_, nullptr, options), "set ptrace options", tid_);
}

Result<uint64_t> StoppedTracee::RseqAddress() const {
  __ptrace_rseq_configuration rseq = {};
  const long outcome = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid_, sizeof rseq, &rseq);
  if (outcome < 0 && errno == EIO) {
    return uint64_t{0};  // a kernel without rseq
  }
  TRY(Check(outcome, "read rseq configuration", tid_));
  return rseq.rseq_abi_pointer;
}

Result<> StoppedTracee::InterruptNext() const {
  return Check(ptrace(PTRACE_INTERRUPT, tid_, nullptr, nullptr), "interrupt", tid_);
}

RunningTracee StoppedTracee::Go(Resume how, int signal) && {
  CheckResumed(ptrace(Request(how), tid_, nullptr, static_cast<long>(signal)));
  return RunningTracee(tid_, how);
}

RunningTracee StoppedTracee::Listen() && {
  CheckResumed(ptrace(PTRACE_LISTEN, tid_, nullptr, nullptr));
  return RunningTracee(tid_, Resume::kContinue);
}

Result<> StoppedTracee::Detach(int signal) && {
  return Check(ptrace(PTRACE_DETACH, tid_, nullptr, static_cast<long>(signal)), "detach", tid_);
}

RunningTracee StoppedTracee::Killed() && { return RunningTracee(tid_, Resume::kContinue); }

Result<RunningTracee> RunningTracee::Seize(pid_t tid, unsigned long options) {
  TRY(Check(ptrace(PTRACE_SEIZE, tid, nullptr, options), "seize", tid));
  return RunningTracee(tid, Resume::kContinue);
}

Result<> RunningTracee::Interrupt() const {
  return Check(ptrace(PTRACE_INTERRUPT, tid_, nullptr, nullptr), "interrupt", tid_);
}

std::variant<StoppedTracee, Exited> RunningTracee::Decode(int status) && {
  if (WIFEXITED(status)) {
    return Exited{WEXITSTATUS(status), 0};
  }
  if (WIFSIGNALED(status)) {
    return Exited{0, WTERMSIG(status)};
  }
  CHECK(WIFSTOPPED(status));
  return StoppedTracee(tid_, DecodeStop(tid_, status, resumed_));
}

}  // namespace migrate
