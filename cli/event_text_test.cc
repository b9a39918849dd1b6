// The text of calls whose arguments are numbers, strings and addresses, and of the other events.
// What is behind pointers to structures: event_struct_test.cc.
#include "cli/event_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/clock_ring.h"
#include "cli/event_line.h"
#include "cli/event_text_testing.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

using migrate::testing::Call;
using migrate::testing::kAtCwd;
using migrate::testing::kMinusOne;
using migrate::testing::Text;

TEST(EventText, FilesAndPaths) {
  EXPECT_EQ(Text(Call("openat", {kAtCwd, 0x4000, 02000000, 0})
                     .Result(3)
                     .Span(0x4000, std::string("/etc/hosts\0", 11), EVENT_SPAN_INPUT)),
            R"(openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3)");
  EXPECT_EQ(
      Text(Call("openat", {kAtCwd, 0x4000, 0102, 0640})
               .Result(-2)
               .Span(0x4000, std::string("log\0", 4), EVENT_SPAN_INPUT)),
      R"(openat(AT_FDCWD, "log", O_RDWR|O_CREAT, 0640) = -1 ENOENT (No such file or directory))");
  EXPECT_EQ(Text(Call("openat", {5, 0x4000, 020200000 | 2, 0600}).Result(4)),
            "openat(5, 0x4000, O_RDWR|O_TMPFILE, 0600) = 4");
  EXPECT_EQ(Text(Call("unlinkat", {kAtCwd, 0x4000, 0x200}).Result(-39)),
            "unlinkat(AT_FDCWD, 0x4000, AT_REMOVEDIR) = -1 ENOTEMPTY (Directory not empty)");
  EXPECT_EQ(Text(Call("faccessat2", {kAtCwd, 0x4000, 6, 0x300})),
            "faccessat2(AT_FDCWD, 0x4000, R_OK|W_OK, AT_SYMLINK_NOFOLLOW|AT_EACCESS) = 0");
  EXPECT_EQ(Text(Call("access", {0, 0}).Result(-14)),
            "access(NULL, F_OK) = -1 EFAULT (Bad address)");
  EXPECT_EQ(Text(Call("umask", {022}).Result(077)), "umask(022) = 077");
  EXPECT_EQ(Text(Call("lseek", {3, 0xfffffff0, 0}).Result(0xfffffff0).File(FD_REPLICATED)),
            "lseek(3<file>, 4294967280, SEEK_SET) = 4294967280");
  EXPECT_EQ(Text(Call("lseek", {3, kMinusOne, 2}).Result(7).File(FD_REPLICATED)),
            "lseek(3<file>, -1, SEEK_END) = 7");
  EXPECT_EQ(
      Text(Call("pipe2", {0x5000, 02004000}).Span(0x5000, std::string("\3\0\0\0\4\0\0\0", 8))),
      "pipe2([3, 4], O_NONBLOCK|O_CLOEXEC) = 0");
  EXPECT_EQ(Text(Call("eventfd2", {0, 1}).Result(5)), "eventfd2(0, 0x1) = 5");
}

TEST(EventText, Buffers) {
  EXPECT_EQ(Text(Call("read", {5, 0x7000, 16384})
                     .Result(78)
                     .File(FD_SOCKET)
                     .Span(0x7000, "GET / HTTP/1.1\r\nHost: a"),
                 8),
            R"(read(5<socket>, "GET / HT"..., 16384) = 78)");
  EXPECT_EQ(Text(Call("read", {5, 0x7000, 10})
                     .Result(8)
                     .Span(0x7000,
                           "\t\"a\\\x80\x01"
                           "2\x01")),
            R"(read(5, "\t\"a\\\200\0012\1", 10) = 8)");
  EXPECT_EQ(Text(Call("read", {5, 0x7000, 10}).Result(0).File(FD_SOCKET)),
            R"(read(5<socket>, "", 10) = 0)");
  EXPECT_EQ(Text(Call("read", {5, 0x7000, 10}).Result(10).File(FD_REPLICATED)),
            "read(5<file>, 0x7000, 10) = 10");
  EXPECT_EQ(Text(Call("read", {5, 0x7000, 10}).Result(-11).File(FD_SOCKET)),
            "read(5<socket>, 0x7000, 10) = -1 EAGAIN (Resource temporarily unavailable)");
  EXPECT_EQ(Text(Call("read", {99, 0x7000, 10}).Result(-9).File(FD_BAD)),
            "read(99<bad>, 0x7000, 10) = -1 EBADF (Bad file descriptor)");
  EXPECT_EQ(Text(Call("write", {1, 0x7000, 100})
                     .Result(100)
                     .File(FD_PIPE_OUTSIDE)
                     .Span(0x7000, "hello", EVENT_SPAN_INPUT | EVENT_SPAN_TRUNCATED)),
            R"(write(1<pipe-outside>, "hello"..., 100) = 100)");
  // Only what the table says is logged: the kernel has read these and written those.
  EXPECT_EQ(Text(Call("write", {1, 0x7000, 5}).Result(5).Span(0x7000, "hello")),
            "write(1, 0x7000, 5) = 5");
  EXPECT_EQ(Text(Call("readlink", {0x7000, 0x7000, 64})
                     .Result(4)
                     .Span(0x7000, std::string("name\0", 5), EVENT_SPAN_INPUT)
                     .Span(0x7000, "real")),
            R"(readlink("name", "real", 64) = 4)");
}

TEST(EventText, CommandsAndFlags) {
  EXPECT_EQ(Text(Call("fcntl", {8, 3, 0x55e3080d50e0}).Result(2).File(FD_SOCKET)),
            "fcntl(8<socket>, F_GETFL) = 0x2 (flags O_RDWR)");
  EXPECT_EQ(Text(Call("fcntl", {8, 4, 04002})), "fcntl(8, F_SETFL, O_RDWR|O_NONBLOCK) = 0");
  EXPECT_EQ(Text(Call("fcntl", {8, 2, 1})), "fcntl(8, F_SETFD, FD_CLOEXEC) = 0");
  EXPECT_EQ(Text(Call("fcntl", {8, 1030, 10}).Result(10)), "fcntl(8, F_DUPFD_CLOEXEC, 10) = 10");
  EXPECT_EQ(Text(Call("fcntl", {8, 999, 10}).Result(-22)),
            "fcntl(8, 0x3e7, 0xa) = -1 EINVAL (Invalid argument)");
  EXPECT_EQ(Text(Call("ioctl", {5, 0x541b, 0x6000})
                     .File(FD_SOCKET)
                     .Span(0x6000, std::string("\5\0\0\0", 4))),
            "ioctl(5<socket>, FIONREAD, [5]) = 0");
  EXPECT_EQ(Text(Call("ioctl", {5, 0x80045430, 0x6000})), "ioctl(5, TIOCGPTN, 0x6000) = 0");
  EXPECT_EQ(Text(Call("ioctl", {5, 0xc0107a01, 0x6000})),
            "ioctl(5, _IOC(_IOC_READ|_IOC_WRITE, 0x7a, 0x1, 0x10), 0x6000) = 0");
  EXPECT_EQ(Text(Call("prctl", {15, 0x6000, 7, 8, 9})), "prctl(PR_SET_NAME, 0x6000) = 0");
  EXPECT_EQ(Text(Call("prctl", {1, 15, 7, 8, 9})), "prctl(PR_SET_PDEATHSIG, SIGTERM) = 0");
  EXPECT_EQ(Text(Call("arch_prctl", {0x1002, 0x7f0000001000})),
            "arch_prctl(ARCH_SET_FS, 0x7f0000001000) = 0");
  EXPECT_EQ(Text(Call("shmctl", {7, 0, 0})), "shmctl(7, IPC_RMID, NULL) = 0");
  EXPECT_EQ(Text(Call("setsockopt", {4, 6, 1, 0x6000, 4})
                     .File(FD_SOCKET)
                     .Span(0x6000, std::string("\1\0\0\0", 4), EVENT_SPAN_INPUT)),
            "setsockopt(4<socket>, SOL_TCP, TCP_NODELAY, [1], 4) = 0");
  EXPECT_EQ(Text(Call("socket", {10, 1 | 02000000 | 04000, 6}).Result(4)),
            "socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 6) = 4");
  EXPECT_EQ(Text(Call("kill", {kMinusOne, 34})), "kill(-1, SIGRT_2) = 0");
}

TEST(EventText, MemoryAndTasks) {
  EXPECT_EQ(Text(Call("mmap", {0, 8192, 3, 0x22, kMinusOne, 0}).Result(0x7f0000002000)),
            "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = "
            "0x7f0000002000");
  EXPECT_EQ(Text(Call("mmap", {0x10000, 4096, 0, 0x100012, 5, 0x1000}).Result(-12).File(FD_MEMORY)),
            "mmap(0x10000, 4096, PROT_NONE, MAP_PRIVATE|MAP_FIXED|MAP_FIXED_NOREPLACE, 5<memory>, "
            "0x1000) = -1 ENOMEM (Cannot allocate memory)");
  EXPECT_EQ(Text(Call("brk", {0}).Result(0x55e320a35000)), "brk(NULL) = 0x55e320a35000");
  EXPECT_EQ(Text(Call("madvise", {0x10000, 4096, 4})), "madvise(0x10000, 4096, MADV_DONTNEED) = 0");
  EXPECT_EQ(Text(Call("clone", {0x1200011, 0, 0, 0x7f8a0c9d5d50, 0}).Result(37)),
            "clone(CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, NULL, NULL, 0x7f8a0c9d5d50, 0) "
            "= 37");
  EXPECT_EQ(Text(Call("exit_group", {3}).Result(0)), "exit_group(3) = ?");
  EXPECT_EQ(Text(Call("getpid", {}).Result(37)), "getpid() = 37");
}

TEST(EventText, Futex) {
  const std::uint64_t word = 0x7f0000001000;
  EXPECT_EQ(Text(Call("futex", {word, 0x80, 2, 0, 1, 2}).Result(-11)),
            "futex(0x7f0000001000, FUTEX_WAIT_PRIVATE, 2, NULL) = -1 EAGAIN (Resource temporarily "
            "unavailable)");
  EXPECT_EQ(Text(Call("futex", {word, 0x81, 0x7fffffff, 0, 7, 9}).Result(1)),
            "futex(0x7f0000001000, FUTEX_WAKE_PRIVATE, 2147483647) = 1");
  EXPECT_EQ(Text(Call("futex", {word, 0x189, 0, 0x6000, 0, 0xffffffff})),
            "futex(0x7f0000001000, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, 0x6000, "
            "0xffffffff) = 0");
  EXPECT_EQ(Text(Call("futex", {word, 4, 1, 100, word + 4, 3}).Result(2)),
            "futex(0x7f0000001000, FUTEX_CMP_REQUEUE, 1, 100, 0x7f0000001004, 0x3) = 2");
  EXPECT_EQ(Text(Call("futex", {word, 7, 1, 2, 3, 4})),
            "futex(0x7f0000001000, FUTEX_UNLOCK_PI) = 0");
}

TEST(EventText, InterruptedAndUnfinished) {
  EXPECT_EQ(Text(Call("pause", {}).Result(-512).Flags(EVENT_FLAG_INTERRUPTED)),
            "pause() = ? ERESTARTSYS (To be restarted if SA_RESTART is set)");
  EXPECT_EQ(Text(Call("nanosleep", {0x6000, 0})
                     .Result(-516)
                     .Flags(EVENT_FLAG_INTERRUPTED | EVENT_FLAG_RESTARTED)),
            "nanosleep(0x6000, NULL) = ? ERESTART_RESTARTBLOCK (Interrupted by signal) "
            "/* called before T0 */");
  EXPECT_EQ(Text(Call("restart_syscall", {})),
            "restart_syscall(<... the interrupted call goes on ...>) = 0");
  EXPECT_EQ(Text(Call("pause", {}).Result(-4000)), "pause() = -1 (errno 4000)");
}

TEST(EventText, WhatTheTableDoesNotKnow) {
  EXPECT_EQ(Text(FrameBuilder(EVENT_SYSCALL, 7).Number(999).Result(-38).Args({1, 0x20, 0})),
            "syscall_999(0x1, 0x20, 0) = -1 ENOSYS (Function not implemented)");
  EXPECT_EQ(Text(FrameBuilder(EVENT_SYSCALL, 7).Number(0).Result(5).Args({3})), "read(3) = 5");
  EXPECT_EQ(SyscallName(999), "syscall_999");
  EXPECT_EQ(EventKindName(static_cast<event_kind>(200)), "unknown");
}

TEST(EventText, TasksAndExec) {
  EXPECT_EQ(Text(FrameBuilder(EVENT_TASK_NEW, 1).Args({12, 1, 0x10900})),
            "+++ task 12 born: thread of 1 (CLONE_VM|CLONE_SIGHAND|CLONE_THREAD) +++");
  EXPECT_EQ(Text(FrameBuilder(EVENT_TASK_NEW, 1).Args({13, 13, 0})),
            "+++ task 13 born: process +++");
  EXPECT_EQ(Text(FrameBuilder(EVENT_TASK_EXIT, 12).Result(0).Args({1})), "+++ exited with 0 +++");
  EXPECT_EQ(Text(FrameBuilder(EVENT_TASK_EXIT, 12).Result(3 << 8)), "+++ exited with 3 +++");
  EXPECT_EQ(Text(FrameBuilder(EVENT_TASK_EXIT, 12).Result(15)), "+++ killed by SIGTERM +++");
  EXPECT_EQ(Text(FrameBuilder(EVENT_TASK_EXIT, 12).Result(11 | 0x80)),
            "+++ killed by SIGSEGV (core dumped) +++");
  EXPECT_EQ(Text(FrameBuilder(EVENT_EXEC, 7)
                     .Args({7})
                     .Span(0, std::string("/bin/true\0", 10), EVENT_SPAN_INPUT)),
            R"(exec "/bin/true")");
  EXPECT_EQ(Text(FrameBuilder(EVENT_EXEC, 7).Args({9}).Span(0, "/bin/true", EVENT_SPAN_INPUT)),
            R"(exec "/bin/true" (was task 9))");
  EXPECT_EQ(Text(FrameBuilder(EVENT_EXEC, 7)), "exec ?");
}

TEST(EventText, SwitchTscMarksAndProblems) {
  EXPECT_EQ(Text(FrameBuilder(EVENT_SWITCH, 7).Args({2, 14, 0x401000})),
            "switch to 14 (state D) at 0x401000");
  EXPECT_EQ(Text(FrameBuilder(EVENT_SWITCH, 7).Args({0, 0})), "switch to nobody (state R)");
  EXPECT_EQ(Text(FrameBuilder(EVENT_TSC, 7).Result(123456789).Args({0x401234, 3})),
            "tsc 0x75bcd15 at 0x401234, aux 3");
  EXPECT_EQ(Text(FrameBuilder(EVENT_MARK).Number(MARK_START)), "mark start");
  EXPECT_EQ(Text(FrameBuilder(EVENT_MARK).Number(MARK_END)), "mark end");
  EXPECT_EQ(Text(FrameBuilder(EVENT_MARK, 1).Number(MARK_CLOCKS).Args({0x7f0000001000, 0x7f01000})),
            "mark clocks ring=0x7f0000001000 vdso=0x7f01000");
  const auto problem = [](std::uint16_t number, std::uint64_t first, std::uint64_t second) {
    const std::string text =
        Text(FrameBuilder(EVENT_PROBLEM, 7).Number(number).Args({first, second}));
    constexpr std::string_view kBegin = "!!! the recording is incomplete from here on: ";
    EXPECT_THAT(text, ::testing::StartsWith(kBegin));
    return text.substr(std::min(kBegin.size(), text.size()));
  };
  EXPECT_EQ(problem(PROBLEM_REFUSED_SYSCALL, 425, 0), "refused syscall io_uring_setup !!!");
  EXPECT_EQ(problem(PROBLEM_REFUSED_FILE, 0, FD_DEVICE), "refused file: read on <device> !!!");
  EXPECT_EQ(problem(PROBLEM_REFUSED_FILE, 1 << 20, 1 << 20),
            "refused file: syscall_1048576 on <?> !!!");
  EXPECT_EQ(problem(PROBLEM_TOO_LARGE, 45, 100), "too large: recvfrom, 100 bytes !!!");
  EXPECT_EQ(problem(PROBLEM_UNREADABLE, 0, 0x6000), "unreadable: read at 0x6000 !!!");
  EXPECT_EQ(problem(PROBLEM_CLOCKS, 300, 0), "lost clock readings: 300 !!!");
  EXPECT_EQ(problem(99, 1, 2), "problem 99 0x1 0x2 !!!");
  for (std::uint16_t number = 1; number < PROBLEM_COUNT; ++number) {
    EXPECT_THAT(problem(number, 1, 1), ::testing::Not(::testing::StartsWith("problem"))) << number;
  }
}

std::string Siginfo(std::initializer_list<std::int32_t> words) {
  std::string text(48, '\0');
  std::memcpy(text.data(), std::data(words), words.size() * 4);
  return text;
}

TEST(EventText, Signals) {
  const auto delivery = [](std::uint16_t number, std::initializer_list<std::uint64_t> args,
                           const std::string& info) {
    return Text(FrameBuilder(EVENT_SIGNAL, 7).Number(number).Args(args).Span(0, info));
  };
  EXPECT_EQ(delivery(14, {0x401000, 0, 0x402000}, Siginfo({14, 0, 0x80})),
            "--- SIGALRM {si_code=SI_KERNEL} at 0x401000 (at a syscall) handler 0x402000 ---");
  EXPECT_EQ(delivery(15, {0x401000, 1, 0}, Siginfo({15, 0, 0, 0, 1, 1000})),
            "--- SIGTERM {si_code=SI_USER, si_pid=1, si_uid=1000} at 0x401000 (in a computation) "
            "SIG_DFL ---");
  EXPECT_EQ(delivery(17, {0x401000, 0, 1}, Siginfo({17, 0, 1, 0, 37, 70, 3})),
            "--- SIGCHLD {si_code=CLD_EXITED, si_pid=37, si_uid=70, si_status=3} at 0x401000 "
            "(at a syscall) SIG_IGN ---");
  EXPECT_EQ(delivery(17, {0x401000, 0, 0}, Siginfo({17, 0, 2, 0, 37, 70, 9})),
            "--- SIGCHLD {si_code=CLD_KILLED, si_pid=37, si_uid=70, si_status=SIGKILL} at 0x401000 "
            "(at a syscall) SIG_DFL ---");
  EXPECT_EQ(delivery(11, {0x401000, 1, 0}, Siginfo({11, 0, 1, 0, 0x1000, 0})),
            "--- SIGSEGV {si_code=SEGV_MAPERR, si_addr=0x1000} at 0x401000 (in a computation) "
            "SIG_DFL ---");
  EXPECT_EQ(delivery(34, {0x401000, 0, 0}, Siginfo({34, 0, -2, 0, 5, 0})),
            "--- SIGRT_2 {si_code=SI_TIMER, si_timerid=5, si_overrun=0} at 0x401000 (at a syscall) "
            "SIG_DFL ---");
  EXPECT_EQ(delivery(15, {0x401000, 0, 0}, "short"),
            R"(--- SIGTERM "short" at 0x401000 (at a syscall) SIG_DFL ---)");
}

TEST(EventText, Clocks) {
  const clock_ring_entry entries[] = {
      {5, CLOCK_GETTIME, 1, 0, {12, 345'000'000}},
      {6, CLOCK_GETTIMEOFDAY, 0, 0, {1'700'000'000, 42}},
      {7, CLOCK_TIME, 0, 1'700'000'000, {0, 0}},
      {8, CLOCK_GETTIME, 99, 0xffffffea, {0, 0}},
  };
  const auto text = [&](std::size_t first, std::size_t count) {
    const auto part = std::span(entries).subspan(first, count);
    return Text(FrameBuilder(EVENT_CLOCKS, 7)
                    .Args({5 + first, count})
                    .Span(0x7f00000020a0, std::as_bytes(part)));
  };
  EXPECT_EQ(
      text(0, 4),
      "clocks: 4 readings (CLOCK_MONOTONIC 12.345000000, gettimeofday 1700000000.000042, time "
      "1700000000, ...)");
  EXPECT_EQ(text(3, 1), "clocks: 1 reading (99 -22)");
  EXPECT_EQ(Text(FrameBuilder(EVENT_CLOCKS, 7).Args({5, 1}).Span(0x7000, "short")),
            "clocks: corrupt: clock readings: as many bytes as entries 5 and 0 more do not have");
}

TEST(EventLine, ColumnsAndJson) {
  const auto frame =
      Call("read", {5, 0x7000, 10}).Result(2).File(FD_SOCKET).Span(0x7000, "ab").Build();
  Event event;
  ASSERT_EQ(ParseFrame(frame, event).status, FrameStatus::kFrame);
  event.lsn = 1234;
  EXPECT_EQ(EventLine(event, 32), R"(      1234       7  read(5<socket>, "ab", 10) = 2)");
  EXPECT_EQ(EventJsonLine(event, 32),
            R"({"lsn":1234,"tid":7,"kind":"syscall","syscall":"read","number":0,"result":2,)"
            R"("args":[5,28672,10],"text":"read(5<socket>, \"ab\", 10) = 2","arguments":{"fd":)"
            R"("5<socket>","buf":"\"ab\"","count":"10"},"file":"socket","spans":[{"address":28672,)"
            R"("length":2,"text":"\"ab\""}]})");
  event = Event();
  event.kind = EVENT_MARK;
  event.number = MARK_END;
  EXPECT_EQ(EventLine(event, 32), "         0       -  mark end");
}

// As JSON has them.
TEST(SyscallTable, NamesOfArgumentsDiffer) {
  for (const SyscallRow& row : SyscallTable()) {
    std::set<std::string_view> names;
    for (unsigned i = 0; i < row.arg_count; ++i) {
      EXPECT_TRUE(names.insert(row.args[i].name).second) << row.name << " " << row.args[i].name;
      EXPECT_NE(row.args[i].kind, ArgKind::kNone) << row.name;
    }
  }
}

}  // namespace
}  // namespace migrate
