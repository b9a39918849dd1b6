#include "base/remote_calls.h"

#include <elf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "base/check.h"
#include "base/file_util.h"
#include "base/tracee_memory.h"

namespace migrate {
namespace {

constexpr std::array<std::byte, 2> kSyscallInstruction = {std::byte{0x0f}, std::byte{0x05}};
constexpr uint64_t kRedZone = 128;
constexpr std::size_t kVdsoBytes = 16 * 1024;  // it has been 4 to 12 KB so far
constexpr std::size_t kPage = 4096;

bool IsSyscallAt(pid_t tid, uint64_t address) {
  const auto bytes = ReadTracee<std::array<std::byte, 2>>(tid, address);
  return bytes && *bytes == kSyscallInstruction;
}

// From the auxiliary vector; 0 if the process has none (vdso=0, or unmapped at exec).
Result<uint64_t> VdsoBase(pid_t tid) {
  const std::string vector = TRY(ReadSmallFile("/proc/" + std::to_string(tid) + "/auxv"));
  for (std::size_t at = 0; at + sizeof(Elf64_auxv_t) <= vector.size(); at += sizeof(Elf64_auxv_t)) {
    Elf64_auxv_t entry;
    std::memcpy(&entry, vector.data() + at, sizeof entry);
    if (entry.a_type == AT_SYSINFO_EHDR) {
      return entry.a_un.a_val;
    }
  }
  return uint64_t{0};
}

// The kernel's struct rseq_cs.
struct RseqSection {
  uint32_t version;
  uint32_t flags;
  uint64_t start;
  uint64_t length;
  uint64_t abort;
};
constexpr uint64_t kRseqSectionOffset = 8;  // rseq_cs in struct rseq

}  // namespace

Result<RemoteCalls> RemoteCalls::Begin(StoppedTracee& tracee, WaitSource& waits,
                                       std::chrono::milliseconds timeout) {
  RemoteCalls calls(tracee, waits, timeout);
  TRY(calls.Enter());
  return calls;
}

Result<> RemoteCalls::Enter() {
  const Stop stop = tracee_->stop();
  switch (stop.kind) {
    case StopKind::kInterrupt:
    case StopKind::kGroupStop:
    case StopKind::kSyscallExit:
      origin_ = stop.kind;
      break;
    case StopKind::kSyscallEntry:
      origin_ = stop.emulated ? StopKind::kSyscallExit : StopKind::kSyscallEntry;
      break;
    case StopKind::kExec:
      origin_ = StopKind::kSyscallExit;
      break;
    default:
      return MakeError(ErrorCode::kFailedPrecondition,
                       "task " + std::to_string(tracee_->tid()) + " cannot be called into at a " +
                           std::string(Name(stop.kind)) + " stop");
  }
  mask_ = TRY(tracee_->GetSigMask());
  TRY(tracee_->SetSigMask(~uint64_t{0}));
  if (stop.kind == StopKind::kExec || stop.emulated) {
    TRY(RunTo(Resume::kSyscall, StopKind::kSyscallExit));  // let it come to its end
  }
  saved_ = TRY(tracee_->GetRegs());
  TRY(LeaveRseqSection());
  instruction_ = TRY(FindSyscallInstruction());
  return {};
}

// A task that stopped inside a restartable sequence goes on at its abort handler: the kernel forgets
// the sequence as soon as it sees the task run elsewhere.
Result<> RemoteCalls::LeaveRseqSection() {
  if (static_cast<int64_t>(saved_.orig_rax) >= 0) {
    return {};  // in a syscall, which a sequence must not contain
  }
  const auto area = tracee_->RseqAddress();
  if (!area || *area == 0) {
    return {};
  }
  const auto section = ReadTracee<uint64_t>(tracee_->tid(), *area + kRseqSectionOffset);
  if (!section || *section == 0) {
    return {};
  }
  const auto bounds = ReadTracee<RseqSection>(tracee_->tid(), *section);
  if (bounds && saved_.rip - bounds->start < bounds->length) {
    saved_.rip = bounds->abort;
  }
  return {};
}

Result<uint64_t> RemoteCalls::FindSyscallInstruction() const {
  const pid_t tid = tracee_->tid();
  if (static_cast<int64_t>(saved_.orig_rax) >= 0 && IsSyscallAt(tid, saved_.rip - 2)) {
    return saved_.rip - 2;
  }
  const uint64_t vdso = TRY(VdsoBase(tid));
  if (vdso != 0) {
    // Page by page: nobody says here how long it is.
    std::vector<std::byte> image(kVdsoBytes);
    std::size_t size = 0;
    while (size < image.size() &&
           ReadTraceeMemory(tid, vdso + size, std::span(image).subspan(size, kPage))) {
      size += kPage;
    }
    const auto end = image.begin() + static_cast<std::ptrdiff_t>(size);
    const auto found =
        std::search(image.begin(), end, kSyscallInstruction.begin(), kSyscallInstruction.end());
    if (found != end) {
      return vdso + static_cast<uint64_t>(found - image.begin());
    }
  }
  if (IsSyscallAt(tid, saved_.rip - 2)) {
    return saved_.rip - 2;
  }
  return MakeError(ErrorCode::kFailedPrecondition,
                   "task " + std::to_string(tid) + " has no syscall instruction to borrow");
}

// Resumes the task and waits for one kind of stop; what else comes is passed by. All signals are
// blocked, so only SIGKILL, SIGSTOP and faults of the task itself can.
Result<> RemoteCalls::RunTo(Resume how, StopKind wanted) {
  RunningTracee running = std::move(*tracee_).Go(how);
  for (;;) {
    const auto event = TRY(waits_->Wait(running.tid(), timeout_));
    if (!event) {
      return MakeError(ErrorCode::kDeadlineExceeded,
                       "task " + std::to_string(running.tid()) +
                           " did not execute a call: its cgroup is frozen, or its CPU is taken");
    }
    auto state = std::move(running).Decode(event->status);
    if (std::holds_alternative<Exited>(state)) {
      return MakeError(ErrorCode::kNotFound, "the task has ended");
    }
    *tracee_ = std::get<StoppedTracee>(std::move(state));
    const Stop stop = tracee_->stop();
    if (stop.kind == wanted || (wanted == StopKind::kInterrupt && stop.kind == StopKind::kGroupStop)) {
      return {};
    }
    if (stop.kind == StopKind::kSignal && stop.signal == SIGSTOP) {
      owes_sigstop_ = true;
    } else if (stop.kind == StopKind::kSignal) {
      return MakeError(ErrorCode::kInternal, "a call into task " + std::to_string(tracee_->tid()) +
                                                 " ended in signal " + std::to_string(stop.signal));
    }
    running = std::move(*tracee_).Go(how);
  }
}

Result<int64_t> RemoteCalls::Call(long number, std::initializer_list<uint64_t> arguments) {
  CHECK(arguments.size() <= 6);
  std::array<uint64_t, 6> a = {};
  std::copy(arguments.begin(), arguments.end(), a.begin());
  Registers registers = saved_;
  registers.rdi = a[0];
  registers.rsi = a[1];
  registers.rdx = a[2];
  registers.r10 = a[3];
  registers.r8 = a[4];
  registers.r9 = a[5];
  const auto call = static_cast<unsigned long long>(number);
  if (tracee_->stop().kind == StopKind::kSyscallEntry) {
    registers.orig_rax = call;  // take the place of the task's own call
    registers.rax = static_cast<unsigned long long>(-ENOSYS);
    TRY(tracee_->SetRegs(registers));
  } else {
    registers.rip = instruction_;
    registers.rax = call;
    registers.orig_rax = ~0ULL;  // or the kernel might restart the task's own call
    TRY(tracee_->SetRegs(registers));
    TRY(RunTo(Resume::kSyscall, StopKind::kSyscallEntry));
  }
  called_ = true;
  TRY(RunTo(Resume::kSyscall, StopKind::kSyscallExit));
  return static_cast<int64_t>(TRY(tracee_->GetRegs()).rax);
}

uint64_t RemoteCalls::Scratch(std::size_t size) const {
  return (saved_.rsp - kRedZone - size) & ~uint64_t{15};
}

Result<> RemoteCalls::End() && {
  if (called_ && origin_ == StopKind::kSyscallEntry) {
    Registers again = saved_;
    again.rip -= kSyscallInstruction.size();
    again.rax = saved_.orig_rax;
    again.orig_rax = ~0ULL;
    TRY(tracee_->SetRegs(again));
    TRY(RunTo(Resume::kSyscall, StopKind::kSyscallEntry));
  } else {
    if (called_ && origin_ != StopKind::kSyscallExit) {
      // Back to the place where the kernel decides on restarts, which lies behind the syscall-exit.
      TRY(tracee_->InterruptNext());
      TRY(RunTo(Resume::kContinue, StopKind::kInterrupt));
    }
    TRY(tracee_->SetRegs(saved_));
  }
  TRY(tracee_->SetSigMask(mask_));
  if (owes_sigstop_) {
    static_cast<void>(syscall(SYS_tkill, tracee_->tid(), SIGSTOP));
  }
  return {};
}

Result<int64_t> RemoteSyscall(StoppedTracee& tracee, WaitSource& waits, long number,
                              std::initializer_list<uint64_t> arguments) {
  auto calls = TRY(RemoteCalls::Begin(tracee, waits));
  const int64_t result = TRY(calls.Call(number, arguments));
  TRY(std::move(calls).End());
  return result;
}

}  // namespace migrate
