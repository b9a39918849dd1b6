#include "proto/syscall_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <seccomp.h>

#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace migrate {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Lt;

// MIGRATE_UNISTD_64 is <asm/unistd_64.h> of the machine that builds.
std::map<int, std::string> KernelHeaderCalls() {
  std::map<int, std::string> calls;
  std::ifstream file(MIGRATE_UNISTD_64);
  std::string define;
  std::string name;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    if (words >> define >> name >> number && define == "#define" && name.starts_with("__NR_")) {
      calls[number] = name.substr(5);
    }
  }
  return calls;
}

std::map<int, std::string> SeccompCalls() {
  std::map<int, std::string> calls;
  for (int number = 0; number < CAPTURE_MAX_SYSCALLS; ++number) {
    const std::unique_ptr<char, decltype(&free)> name(
        seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number), &free);
    if (name != nullptr) {
      calls[number] = name.get();
    }
  }
  return calls;
}

// Newer than libseccomp 2.5.4 and the headers of Linux 6.1, which are the oldest that we build
// with.
const std::map<int, std::string> kNewer = {
    {335, "uretprobe"},          // 6.11
    {336, "uprobe"},             // 6.18
    {451, "cachestat"},          // 6.5
    {452, "fchmodat2"},          // 6.6
    {453, "map_shadow_stack"},   // 6.6
    {454, "futex_wake"},         // 6.7
    {455, "futex_wait"},         // 6.7
    {456, "futex_requeue"},      // 6.7
    {457, "statmount"},          // 6.8
    {458, "listmount"},          // 6.8
    {459, "lsm_get_self_attr"},  // 6.8
    {460, "lsm_set_self_attr"},  // 6.8
    {461, "lsm_list_modules"},   // 6.8
    {462, "mseal"},              // 6.10
    {463, "setxattrat"},         // 6.13
    {464, "getxattrat"},         // 6.13
    {465, "listxattrat"},        // 6.13
    {466, "removexattrat"},      // 6.13
    {467, "open_tree_attr"},     // 6.15
    {468, "file_getattr"},       // 6.17
    {469, "file_setattr"},       // 6.17
    {470, "listns"},             // 6.19
};

TEST(SyscallTable, HasEveryCallThatIsKnown) {
  const auto seccomp = SeccompCalls();
  const auto headers = KernelHeaderCalls();
  ASSERT_GT(seccomp.size(), 340u);
  ASSERT_GT(headers.size(), 340u);
  for (const auto* calls : {&seccomp, &headers, &kNewer}) {
    for (const auto& [number, name] : *calls) {
      const SyscallRow* row = FindSyscall(number);
      ASSERT_NE(row, nullptr) << number << " " << name;
      EXPECT_EQ(row->name, name) << number;
      EXPECT_EQ(FindSyscall(name), row);
    }
  }
  for (const SyscallRow& row : SyscallTable()) {
    EXPECT_TRUE(seccomp.contains(row.number) || headers.contains(row.number) ||
                kNewer.contains(row.number))
        << row.number << " " << row.name;
  }
}

TEST(SyscallTable, UnknownNumbersAndNames) {
  EXPECT_EQ(FindSyscall(-1), nullptr);
  EXPECT_EQ(FindSyscall(511), nullptr);
  EXPECT_EQ(FindSyscall(CAPTURE_MAX_SYSCALLS), nullptr);
  EXPECT_EQ(FindSyscall("no_such_call"), nullptr);
}

TEST(SyscallTable, IsInOrder) {
  int last = -1;
  std::set<std::string_view> names;
  for (const SyscallRow& row : SyscallTable()) {
    EXPECT_GT(row.number, last) << row.name;
    last = row.number;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
}

TEST(SyscallTable, RowsAreComplete) {
  for (const SyscallRow& row : SyscallTable()) {
    if (row.policy == Policy::kRefuse) {
      EXPECT_FALSE(row.note.empty()) << row.name;
    }
    EXPECT_LT(row.fd_arg, row.arg_count) << row.name;
    EXPECT_LT(row.refuse_arg, row.arg_count) << row.name;
    EXPECT_EQ(row.refuse_arg >= 0, row.refuse_bits != 0) << row.name;
    EXPECT_TRUE(row.file_rule == FileRule::kFixed || row.fd_arg >= 0) << row.name;
    if (row.fd_arg >= 0) {
      EXPECT_EQ(row.args[static_cast<size_t>(row.fd_arg)].kind, ArgKind::kFd) << row.name;
    }
    for (size_t i = 0; i < row.arg_count; ++i) {
      EXPECT_FALSE(row.args[i].name.empty()) << row.name;
      EXPECT_NE(row.args[i].kind, ArgKind::kNone) << row.name;
    }
  }
}

bool IsNumber(ArgKind kind) {
  switch (kind) {
    case ArgKind::kInt:
    case ArgKind::kUnsigned:
    case ArgKind::kOctal:
    case ArgKind::kFd:
    case ArgKind::kDirFd:
    case ArgKind::kSignal:
    case ArgKind::kSize:
    case ArgKind::kFlags:
    case ArgKind::kOpenFlags:
    case ArgKind::kAtFlags:
      return true;
    default:
      return false;
  }
}

bool HasSize(uint8_t kind) {
  return kind == OUT_FIXED || kind == OUT_RESULT || kind == OUT_RESULT_CAPPED || kind == OUT_ARG ||
         kind == OUT_POINTEE32 || kind == OUT_POINTEE64 || kind == OUT_PATH ||
         kind == OUT_BYTES_IN || kind == OUT_RESULT_PLUS;
}

TEST(SyscallTable, OutputsNameArguments) {
  for (const SyscallRow& row : SyscallTable()) {
    ASSERT_LE(row.output_count, CAPTURE_MAX_OUTPUTS);
    for (const capture_output& output : std::span(row.outputs).first(row.output_count)) {
      EXPECT_THAT(int{output.kind}, AllOf(Ge(int{OUT_FIXED}), Lt(int{OUT_KIND_COUNT}))) << row.name;
      EXPECT_LE(output.when, WHEN_INTERRUPTED) << row.name;
      ASSERT_LT(output.arg, row.arg_count) << row.name;
      ASSERT_LT(output.len_arg, row.arg_count) << row.name;
      EXPECT_FALSE(IsNumber(row.args[output.arg].kind)) << row.name;
      EXPECT_TRUE(output.size > 0 || !HasSize(output.kind)) << row.name;
      if (output.kind == OUT_PATH) {
        EXPECT_LE(output.size, uint32_t{CAPTURE_MAX_PATH}) << row.name;
      }
    }
  }
}

TEST(SyscallTable, WhatWaitsForOthersMayBlock) {
  for (const std::string_view name :
       {"read",       "write",         "readv",           "writev",          "recvfrom",
        "recvmsg",    "sendto",        "sendmsg",         "accept",          "accept4",
        "connect",    "poll",          "ppoll",           "select",          "pselect6",
        "epoll_wait", "epoll_pwait",   "epoll_pwait2",    "futex",           "futex_waitv",
        "futex_wait", "nanosleep",     "pause",           "clock_nanosleep", "wait4",
        "waitid",     "rt_sigsuspend", "rt_sigtimedwait", "semop",           "semtimedop",
        "msgsnd",     "msgrcv",        "mq_timedsend",    "mq_timedreceive", "flock",
        "fcntl",      "open",          "openat",          "splice",          "sendfile",
        "vfork",      "clone",         "execve",          "restart_syscall", "sched_yield",
        "fsync",      "getrandom",     "recvmmsg",        "sendmmsg",        "ioctl"}) {
    ASSERT_NE(FindSyscall(name), nullptr) << name;
    EXPECT_TRUE(FindSyscall(name)->may_block) << name;
  }
  for (const std::string_view name :
       {"getpid", "brk", "mmap", "stat", "lseek", "dup", "clock_gettime", "futex_wake", "kill"}) {
    ASSERT_NE(FindSyscall(name), nullptr) << name;
    EXPECT_FALSE(FindSyscall(name)->may_block) << name;
  }
}

TEST(SyscallTable, PolicyByFile) {
  struct Case {
    std::string_view name;
    fd_class file;
    Policy policy;
  };
  const auto inject = Policy::kInject;
  const auto execute = Policy::kExecute;
  const auto placeholder = Policy::kPlaceholder;
  const auto suppress = Policy::kSuppress;
  const auto refuse = Policy::kRefuse;
  const Case cases[] = {
      {"read", FD_REPLICATED, execute},
      {"read", FD_MEMORY, execute},
      {"read", FD_PIPE, execute},
      {"read", FD_UNIX, execute},
      {"read", FD_NULL, execute},
      {"read", FD_EVENTFD, execute},
      {"read", FD_SOCKET, inject},
      {"read", FD_UNIX_OUTSIDE, inject},
      {"read", FD_PIPE_OUTSIDE, inject},
      {"read", FD_FOREIGN, inject},
      {"read", FD_TTY, inject},
      {"read", FD_RANDOM, inject},
      {"read", FD_TIMERFD, inject},
      {"read", FD_SIGNALFD, inject},
      {"read", FD_INOTIFY, inject},
      {"read", FD_BAD, inject},
      {"read", FD_DEVICE, refuse},
      {"read", FD_OTHER, refuse},
      {"recvmsg", FD_SOCKET, inject},
      {"recvmsg", FD_UNIX, execute},
      {"write", FD_REPLICATED, execute},
      {"write", FD_PIPE, execute},
      {"write", FD_EVENTFD, execute},
      {"write", FD_FOREIGN, execute},
      {"write", FD_SOCKET, suppress},
      {"write", FD_PIPE_OUTSIDE, suppress},
      {"write", FD_TTY, suppress},
      {"write", FD_BAD, inject},
      {"write", FD_DEVICE, refuse},
      {"sendto", FD_SOCKET, suppress},
      {"sendmsg", FD_UNIX, execute},
      {"ftruncate", FD_MEMORY, execute},
      {"lseek", FD_REPLICATED, execute},
      {"lseek", FD_FOREIGN, inject},
      {"lseek", FD_DEVICE, refuse},
      {"fstat", FD_REPLICATED, inject},
      {"fstat", FD_DEVICE, inject},
      {"getsockopt", FD_SOCKET, inject},
      {"ioctl", FD_SOCKET, execute},
      {"ioctl", FD_BAD, inject},
      {"ioctl", FD_DEVICE, refuse},
      {"mmap", FD_NONE, execute},
      {"mmap", FD_REPLICATED, execute},
      {"mmap", FD_MEMORY, execute},
      {"mmap", FD_SOCKET, refuse},
      {"mmap", FD_DEVICE, refuse},
      {"bind", FD_SOCKET, placeholder},
      {"bind", FD_UNIX, execute},
      {"connect", FD_SOCKET, placeholder},
      {"accept4", FD_UNIX_OUTSIDE, placeholder},
      {"listen", FD_REPLICATED, inject},
      {"sendfile", FD_REPLICATED, execute},
      {"sendfile", FD_FOREIGN, refuse},
      {"splice", FD_SOCKET, refuse},
      {"splice", FD_PIPE, execute},
      {"getpid", FD_NONE, inject},
      {"clock_gettime", FD_NONE, inject},
      {"openat", FD_NONE, execute},
      {"socket", FD_NONE, placeholder},
      {"fsync", FD_REPLICATED, suppress},
      {"kill", FD_NONE, suppress},
      {"timer_settime", FD_NONE, suppress},
      {"ptrace", FD_NONE, refuse},
      {"io_uring_setup", FD_NONE, refuse},
      {"mount", FD_NONE, refuse},
      {"bpf", FD_NONE, refuse},
  };
  for (const Case& c : cases) {
    ASSERT_NE(FindSyscall(c.name), nullptr) << c.name;
    EXPECT_EQ(Name(PolicyFor(*FindSyscall(c.name), c.file)), Name(c.policy))
        << c.name << " on " << Name(c.file);
  }
}

TEST(SyscallTable, PolicyByArguments) {
  struct Case {
    std::string_view name;
    fd_class file;
    std::vector<uint64_t> args;
    Policy policy;
  };
  const Case cases[] = {
      {"ioctl", FD_TTY, {0, 0x5413}, Policy::kInject},            // TIOCGWINSZ
      {"ioctl", FD_TTY, {0, 0x5402}, Policy::kExecute},           // TCSETS
      {"ioctl", FD_TTY, {0, 0x5412}, Policy::kSuppress},          // TIOCSTI
      {"ioctl", FD_SOCKET, {0, 0x8946}, Policy::kRefuse},         // SIOCETHTOOL
      {"ioctl", FD_DEVICE, {0, 0x5413}, Policy::kRefuse},         //
      {"ioctl", FD_SOCKET, {0, 0x12345}, Policy::kExecute},       // not listed
      {"ioctl", FD_SOCKET, {}, Policy::kExecute},                 //
      {"fcntl", FD_SOCKET, {0, 3}, Policy::kInject},              // F_GETFL
      {"fcntl", FD_SOCKET, {0, 4}, Policy::kExecute},             // F_SETFL
      {"getsockopt", FD_SOCKET, {0, 6, 35}, Policy::kRefuse},     // TCP_ZEROCOPY_RECEIVE
      {"getsockopt", FD_SOCKET, {0, 6, 11}, Policy::kInject},     // TCP_INFO
      {"setsockopt", FD_SOCKET, {0, 6, 1}, Policy::kExecute},     // TCP_NODELAY
      {"prctl", FD_NONE, {26, 1}, Policy::kRefuse},               // PR_SET_TSC
      {"arch_prctl", FD_NONE, {0x2003}, Policy::kRefuse},         // ARCH_MAP_VDSO_64
      {"mmap", FD_SOCKET, {0, 1, 1, 0x22, 3}, Policy::kExecute},  // anonymous
      {"mmap", FD_SOCKET, {0, 1, 1, 2, 3}, Policy::kRefuse},      //
      {"clone", FD_NONE, {0x3d0f00}, Policy::kExecute},           //
      {"clone", FD_NONE, {0x20000011}, Policy::kRefuse},          // CLONE_NEWPID
      {"unshare", FD_NONE, {0x400}, Policy::kExecute},            // CLONE_FILES
      {"unshare", FD_NONE, {0x20000}, Policy::kRefuse},           // CLONE_NEWNS
      {"seccomp", FD_NONE, {1, 8}, Policy::kRefuse},              // NEW_LISTENER
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Name(PolicyFor(*FindSyscall(c.name), c.file, c.args)), Name(c.policy)) << c.name;
  }
}

TEST(SyscallTable, CaptureRowsSayTheSame) {
  const auto rows = CaptureRows();
  size_t known = 0;
  for (const capture_row& row : rows) {
    known += (row.flags & ROW_KNOWN) != 0 ? 1 : 0;
  }
  EXPECT_EQ(known, SyscallTable().size());
  for (const SyscallRow& row : SyscallTable()) {
    const capture_row& captured = rows[row.number];
    EXPECT_TRUE(captured.flags & ROW_KNOWN) << row.name;
    EXPECT_EQ((captured.flags & ROW_REFUSE) != 0, row.policy == Policy::kRefuse) << row.name;
    EXPECT_EQ((captured.flags & ROW_SCHEDULING) != 0, row.changes_scheduling) << row.name;
    EXPECT_EQ((captured.flags & ROW_NEVER_RETURNS) != 0, row.never_returns) << row.name;
    EXPECT_EQ((captured.flags & ROW_MAPS) != 0, row.name == "mmap") << row.name;
    EXPECT_EQ(captured.arg_count, row.arg_count) << row.name;
    EXPECT_EQ(captured.output_count, row.output_count) << row.name;
    EXPECT_EQ(captured.fd_arg, row.fd_arg < 0 ? 255 : row.fd_arg) << row.name;
    EXPECT_EQ(captured.refuse_bits, row.refuse_bits) << row.name;
    for (uint32_t file = 0; file < FD_CLASS_COUNT; ++file) {
      const Policy policy = PolicyFor(row, static_cast<fd_class>(file));
      // Only what the replica makes itself may be left out of the log.
      if ((captured.own_copy_classes & (1u << file)) != 0) {
        EXPECT_EQ(policy, Policy::kExecute) << row.name << " " << file;
        EXPECT_EQ(row.file_rule, FileRule::kRead) << row.name;
      }
      const bool refused =
          (captured.flags & ROW_REFUSE) != 0 || (captured.refuse_classes & (1u << file)) != 0;
      EXPECT_EQ(refused, policy == Policy::kRefuse) << row.name << " " << file;
    }
  }
  const uint32_t own = rows[0].own_copy_classes;
  EXPECT_EQ(own,
            1u << FD_REPLICATED | 1u << FD_MEMORY | 1u << FD_NULL | 1u << FD_PIPE | 1u << FD_UNIX);
}

TEST(SyscallCommands, AreInOrderAndFound) {
  const auto commands = CommandSizes();
  EXPECT_LE(commands.size(), 1024u) << "the recording program's table has that many";
  const CommandSize* last = nullptr;
  for (const CommandSize& command : commands) {
    EXPECT_FALSE(command.name.empty());
    EXPECT_EQ(FindCommand(command.key), &command) << command.name;
    EXPECT_EQ(command.size == COMMAND_REFUSE, command.policy == Policy::kRefuse) << command.name;
    EXPECT_TRUE(command.size <= 4096 || command.size >= COMMAND_RESULT) << command.name;
    if (last != nullptr) {
      EXPECT_TRUE(last->key.kind < command.key.kind ||
                  (last->key.kind == command.key.kind && last->key.command < command.key.command))
          << last->name << " " << command.name;
    }
    last = &command;
  }
  EXPECT_EQ(FindCommand({OUT_IOCTL, 0x12345}), nullptr);
  EXPECT_EQ(FindCommand({OUT_FCNTL, 0x5401}), nullptr);
  EXPECT_EQ(FindCommand({OUT_IOCTL, 0x5401})->name, "TCGETS");
}

}  // namespace
}  // namespace migrate
