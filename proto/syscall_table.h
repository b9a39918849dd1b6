// One row for every x86-64 syscall: what it writes into the process, how a replica repeats it, and
// why. The recorder's BPF program, the replayer, `migrate log` and docs/syscalls.md are derived from
// it. A number without a row is refused. Constant data; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "proto/capture_row.h"

namespace migrate {

// What a replica does with it. See ../docs/syscalls.md.
enum class Policy : uint8_t {
  kInject,       // not executed: result and bytes from the log
  kExecute,      // executed, must give the logged result
  kPlaceholder,  // executed in a form that makes the same descriptor
  kSuppress,     // the effect on the outside is withheld; result from the log
  kRefuse,       // cannot be replayed: found in preflight, or ends the recording
};
std::string_view Name(Policy policy);

// How the policy depends on the file behind the descriptor. kFixed: it does not.
enum class FileRule : uint8_t {
  kFixed,
  kRead,      // read, recv, getdents: bytes come out
  kWrite,     // write, send, truncate
  kPosition,  // lseek, fcntl, flock: state of the file description
  kStatus,    // fstat, getsockopt: facts
  kControl,   // ioctl; see also CommandSizes()
  kMap,       // mmap
  kSocket,    // bind, listen, accept, connect, shutdown
  kSplice,    // sendfile, splice: bytes go from this file to another, past the process
};

// For text: how an argument is printed.
enum class ArgKind : uint8_t {
  kNone,
  kInt,       // 32 bits
  kLong,      // 64 bits: a file's offset or length
  kUnsigned,
  kHex,
  kOctal,
  kPointer,
  kFd,
  kDirFd,
  kPath,
  kSignal,
  kSize,
  kFlags,  // bits without names here
  // Numbers with names.
  kOpenFlags,
  kCreationFlags,  // those of a call without an access mode: pipe2, eventfd2
  kFdFlags,        // FD_CLOEXEC
  kAtFlags,
  kAccessMode,
  kWhence,
  kProtection,
  kMapFlags,
  kAdvice,
  kCloneFlags,
  kWaitFlags,
  kFamily,
  kSocketType,
  kSocketLevel,
  kSocketOption,
  kMessageFlags,
  kEpollOperation,
  kFutexOperation,
  kClock,
  kSignalHow,
  kResource,
  kFcntlCommand,
  kIoctlCommand,
  kPrctlCommand,
  // Pointers, by what is behind them.
  kBuffer,
  kIovec,
  kMsghdr,
  kMmsghdr,
  kSockaddr,
  kOptionValue,
  kTimespec,
  kTimeval,
  kItimerspec,
  kItimerval,
  kFutexTimeout,  // of some operations a number
  kPollFds,
  kEpollEvents,
  kSigset,
  kSigaction,
  kSiginfo,
  kStat,
  kStatx,
  kDirents,
  kRlimit,
  kRusage,
  kWaitStatus,
  kBits,  // a set of numbers, a bit for each
  kIntPair,
  kInt32Pointer,
  kInt64Pointer,
};

// Calls whose replay needs code of its own; the name of the file in replayer/apply/irregular.
enum class Irregular : uint8_t {
  kNone,
  kClone,
  kExec,
  kExit,
  kWait,
  kSignal,      // kill, rt_sigaction, sigreturn, sigaltstack, ...
  kFutex,
  kMemory,      // mmap, munmap, mremap, brk, ...
  kRestart,     // restart_syscall
  kPassing,     // sendmsg, recvmsg: descriptors in SCM_RIGHTS
  kSharedMemory,
  kSplice,      // into a file, pipe or unix socket of the container: executed; to the outside: only
                // what it takes from its source (a position, bytes in a pipe) is done
};

struct Argument {
  std::string_view name;
  ArgKind kind = ArgKind::kNone;
};

struct SyscallRow {
  uint16_t number = 0;
  std::string_view name;
  uint8_t arg_count = 0;
  std::array<Argument, EVENT_MAX_ARGS> args{};
  int8_t fd_arg = -1;  // whose file decides
  FileRule file_rule = FileRule::kFixed;
  Policy policy = Policy::kRefuse;
  bool may_block = false;
  bool changes_scheduling = false;
  bool never_returns = false;
  Irregular irregular = Irregular::kNone;
  int8_t refuse_arg = -1;   // success with one of refuse_bits in this argument is refused
  uint32_t refuse_bits = 0;
  ArgKind result = ArgKind::kLong;  // how a result that is no error is printed
  uint8_t output_count = 0;
  std::array<capture_output, CAPTURE_MAX_OUTPUTS> outputs{};
  std::string_view note;  // why, where it is not obvious; always for kRefuse
};

// In the order of their numbers.
std::span<const SyscallRow> SyscallTable();
const SyscallRow* FindSyscall(int number);  // nullptr: refuse
const SyscallRow* FindSyscall(std::string_view name);

// The policy for this file; kRefuse where the row or the rule says so. An error is injected, whatever
// the policy. Bytes that are in the log win over those that an executed call has written.
Policy PolicyFor(const SyscallRow& row, fd_class file);
// The same where the arguments are known: a command may have a policy of its own.
Policy PolicyFor(const SyscallRow& row, fd_class file, std::span<const uint64_t> args);

// What the BPF program gets: the rows, and the sizes behind commands of ioctl, fcntl, prctl and the
// System V calls. A command that is not listed has the size that its number encodes (_IOC_READ), or
// none.
std::array<capture_row, CAPTURE_MAX_SYSCALLS> CaptureRows();
struct CommandSize {
  capture_command key;
  uint32_t size;  // or COMMAND_REFUSE, COMMAND_IFCONF, COMMAND_RESULT
  std::string_view name;
  Policy policy = Policy::kExecute;
};
std::span<const CommandSize> CommandSizes();  // in the order of their keys
const CommandSize* FindCommand(capture_command key);

std::string_view Name(fd_class file);  // "socket"

}  // namespace migrate
