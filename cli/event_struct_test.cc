// The text of calls by what is behind their pointers.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "cli/event_structs.h"
#include "cli/event_text_testing.h"

namespace migrate {
namespace {

using migrate::testing::Call;
using migrate::testing::kAtCwd;
using migrate::testing::Text;

template <typename T>
std::span<const std::byte> Raw(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::string Number(std::uint32_t value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

sockaddr_in Inet(const char* address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  inet_pton(AF_INET, address, &result.sin_addr);
  return result;
}

TEST(EventStructs, AddressesOfSockets) {
  EXPECT_EQ(Text(Call("accept4", {6, 0x6000, 0x6100, 04000})
                     .Result(9)
                     .File(FD_SOCKET)
                     .Span(0x6000, Raw(Inet("10.0.0.3", 4711)))
                     .Span(0x6100, Number(16))),
            "accept4(6<socket>, {AF_INET, 10.0.0.3:4711}, [16], SOCK_NONBLOCK) = 9");
  EXPECT_EQ(Text(Call("accept", {6, 0, 0}).Result(9).File(FD_SOCKET)),
            "accept(6<socket>, NULL, NULL) = 9");
  sockaddr_in6 inet6{};
  inet6.sin6_family = AF_INET6;
  inet6.sin6_port = htons(80);
  inet_pton(AF_INET6, "fe80::1", &inet6.sin6_addr);
  inet6.sin6_scope_id = 2;
  EXPECT_EQ(Text(Call("connect", {6, 0x6000, 28})
                     .Result(-115)
                     .File(FD_SOCKET)
                     .Span(0x6000, Raw(inet6), EVENT_SPAN_INPUT)),
            "connect(6<socket>, {AF_INET6, [fe80::1%2]:80}, 28) = -1 EINPROGRESS (Operation now in "
            "progress)");
  EXPECT_EQ(Text(Call("bind", {6, 0x6000, 12})
                     .File(FD_UNIX)
                     .Span(0x6000, std::string("\1\0/run/x\0..", 11), EVENT_SPAN_INPUT)),
            R"(bind(6<unix>, {AF_UNIX, "/run/x"}, 12) = 0)");
  EXPECT_EQ(Text(Call("bind", {6, 0x6000, 6})
                     .Span(0x6000, std::string("\1\0\0a\0b", 6), EVENT_SPAN_INPUT)),
            R"(bind(6, {AF_UNIX, @"a\0b"}, 6) = 0)");
  EXPECT_EQ(Text(Call("getpeername", {6, 0x6000, 0x6100})
                     .Span(0x6000, std::string("\1\0", 2))
                     .Span(0x6100, Number(2))),
            "getpeername(6, {AF_UNIX}, [2]) = 0");
  sockaddr_nl netlink{};
  netlink.nl_family = AF_NETLINK;
  netlink.nl_groups = 0x11;
  EXPECT_EQ(Text(Call("bind", {6, 0x6000, 12}).Span(0x6000, Raw(netlink), EVENT_SPAN_INPUT)),
            "bind(6, {AF_NETLINK, pid=0, groups=0x11}, 12) = 0");
  // Too short, and of another family.
  EXPECT_EQ(
      Text(Call("bind", {6, 0x6000, 4}).Span(0x6000, std::string("\2\0\0P", 4), EVENT_SPAN_INPUT)),
      R"(bind(6, {AF_INET, "\0P"}, 4) = 0)");
  EXPECT_EQ(Text(Call("bind", {6, 0x6000, 1}).Span(0x6000, std::string("\2", 1), EVENT_SPAN_INPUT)),
            R"(bind(6, "\2", 1) = 0)");
  EXPECT_EQ(
      Text(Call("bind", {6, 0x6000, 3}).Span(0x6000, std::string("\x50\0x", 3), EVENT_SPAN_INPUT)),
      R"(bind(6, {80, "x"}, 3) = 0)");
}

TEST(EventStructs, Waiting) {
  const epoll_event ready[] = {{EPOLLIN, {.u64 = 8}}, {EPOLLIN | EPOLLRDHUP, {.u64 = 0x7f00}}};
  EXPECT_EQ(Text(Call("epoll_wait", {7, 0x6000, 1024, 100})
                     .Result(1)
                     .File(FD_EPOLL)
                     .Span(0x6000, Raw(ready[0]))),
            "epoll_wait(7<epoll>, [{EPOLLIN, data=0x8}], 1024, 100) = 1");
  EXPECT_EQ(Text(Call("epoll_wait", {7, 0x6000, 1024, 0xffffffff})
                     .Result(2)
                     .Span(0x6000, std::as_bytes(std::span(ready)))),
            "epoll_wait(7<epoll>, [{EPOLLIN, data=0x8}, {EPOLLIN|EPOLLRDHUP, data=0x7f00}], 1024, "
            "-1) = 2");
  EXPECT_EQ(Text(Call("epoll_wait", {7, 0x6000, 1024, 0})
                     .Result(2)
                     .Span(0x6000, std::as_bytes(std::span(ready))),
                 1),
            "epoll_wait(7<epoll>, [{EPOLLIN, data=0x8}, ...], 1024, 0) = 2");
  EXPECT_EQ(Text(Call("epoll_wait", {7, 0x6000, 1024, 0}).Result(0)),
            "epoll_wait(7<epoll>, [], 1024, 0) = 0");
  EXPECT_EQ(Text(Call("epoll_ctl", {7, 1, 9, 0x6000})),
            "epoll_ctl(7<epoll>, EPOLL_CTL_ADD, 9, 0x6000) = 0");
  EXPECT_EQ(Text(Call("epoll_wait", {9, 0x6000, 1024, 0}).Result(-22)),
            "epoll_wait(9, 0x6000, 1024, 0) = -1 EINVAL (Invalid argument)");
  const pollfd polled[] = {{3, POLLIN, 0}, {4, POLLIN | POLLOUT, POLLOUT}};
  EXPECT_EQ(
      Text(Call("poll", {0x6000, 2, 500}).Result(1).Span(0x6000, std::as_bytes(std::span(polled)))),
      "poll([{fd=3, events=POLLIN}, {fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 2, 500) = "
      "1");
  const timespec left{59, 5};
  EXPECT_EQ(Text(Call("pselect6", {8, 0x6000, 0, 0, 0x6100, 0})
                     .Result(1)
                     .Span(0x6000, std::string("\x28\0\0\0\0\0\0\0", 8))
                     .Span(0x6100, Raw(left))),
            "pselect6(8, [3 5], NULL, NULL, {59.000000005}, NULL) = 1");
}

TEST(EventStructs, Times) {
  const timespec time{12, 345678901};
  EXPECT_EQ(Text(Call("clock_gettime", {1, 0x6000}).Span(0x6000, Raw(time))),
            "clock_gettime(CLOCK_MONOTONIC, {12.345678901}) = 0");
  const timespec odd{-1, 1'000'000'000};
  EXPECT_EQ(Text(Call("clock_gettime", {0xfffffffa, 0x6000}).Span(0x6000, Raw(odd))),
            "clock_gettime(MAKE_PROCESS_CPUCLOCK(0, CPUCLOCK_SCHED), {-1, 1000000000}) = 0");
  EXPECT_EQ(Text(Call("clock_gettime", {1, 0x6000}).Span(0x6000, "short")),
            R"(clock_gettime(CLOCK_MONOTONIC, "short") = 0)");
  const timeval day{1'700'000'000, 42};
  EXPECT_EQ(Text(Call("gettimeofday", {0x6000, 0}).Span(0x6000, Raw(day))),
            "gettimeofday({1700000000.000042}, NULL) = 0");
  // The same address, but only the rest is logged.
  EXPECT_EQ(Text(Call("nanosleep", {0x6000, 0x6000}).Result(-4).Span(0x6000, Raw(time))),
            "nanosleep(0x6000, {12.345678901}) = -1 EINTR (Interrupted system call)");
  const itimerspec timer{{1, 0}, {0, 5}};
  EXPECT_EQ(Text(Call("timerfd_gettime", {4, 0x6000}).Span(0x6000, Raw(timer))),
            "timerfd_gettime(4, {interval={1.000000000}, value={0.000000005}}) = 0");
}

TEST(EventStructs, Files) {
  struct stat st {};
  st.st_mode = S_IFREG | 0644;
  st.st_size = 1234;
  EXPECT_EQ(Text(Call("newfstatat", {kAtCwd, 0x4000, 0x6000, 0x100})
                     .Span(0x4000, std::string("a\0", 2), EVENT_SPAN_INPUT)
                     .Span(0x6000, Raw(st))),
            "newfstatat(AT_FDCWD, \"a\", {st_mode=S_IFREG|0644, st_size=1234, ...}, "
            "AT_SYMLINK_NOFOLLOW) = 0");
  EXPECT_EQ(Text(Call("fstat", {3, 0x6000}).File(FD_REPLICATED).Span(0x6000, Raw(st))),
            "fstat(3<file>, {st_mode=S_IFREG|0644, st_size=1234, ...}) = 0");
  EXPECT_EQ(Text(Call("fstat", {3, 0x6000}).Span(0x6000, Raw(st).first(143)), 2),
            R"(fstat(3, "\0\0"...) = 0)");
  struct statx stx {};
  stx.stx_mode = S_IFDIR | 0755;
  EXPECT_EQ(Text(Call("statx", {kAtCwd, 0x4000, 0, 0x7ff, 0x6000}).Span(0x6000, Raw(stx))),
            "statx(AT_FDCWD, 0x4000, 0, 0x7ff, {stx_mode=S_IFDIR|0755, stx_size=0, ...}) = 0");
  std::string names(24 + 32, '\0');
  names[16] = 24;
  names[24 + 16] = 32;
  EXPECT_EQ(Text(Call("getdents64", {3, 0x6000, 32768}).Result(56).Span(0x6000, names)),
            "getdents64(3, /* 2 entries */, 32768) = 56");
  names[16] = 0;
  EXPECT_EQ(Text(Call("getdents64", {3, 0x6000, 32768}).Result(56).Span(0x6000, names)),
            "getdents64(3, /* 0 entries */, 32768) = 56");
}

TEST(EventStructs, SignalsAndProcesses) {
  const std::uint64_t mask = 1 << 1 | 1 << 14;
  EXPECT_EQ(Text(Call("rt_sigprocmask", {0, 0x6000, 0x6100, 8}).Span(0x6100, Raw(mask))),
            "rt_sigprocmask(SIG_BLOCK, 0x6000, [INT TERM], 8) = 0");
  const std::uint64_t most = ~(std::uint64_t{1} << 8 | std::uint64_t{1} << 33);
  EXPECT_EQ(Text(Call("rt_sigprocmask", {2, 0, 0x6100, 8}).Span(0x6100, Raw(most))),
            "rt_sigprocmask(SIG_SETMASK, NULL, ~[KILL RT_2], 8) = 0");
  const std::uint64_t action[4] = {0x401000, 0x14000000, 0x402000, 0};
  EXPECT_EQ(
      Text(Call("rt_sigaction", {2, 0, 0x6000, 8}).Span(0x6000, std::as_bytes(std::span(action)))),
      "rt_sigaction(SIGINT, NULL, {sa_handler=0x401000, sa_mask=[], "
      "sa_flags=SA_RESTORER|SA_RESTART}, 8) = 0");
  const auto wait = [](std::uint32_t status) {
    return Text(Call("wait4", {0xffffffff, 0x6000, 1, 0}).Result(37).Span(0x6000, Number(status)));
  };
  EXPECT_EQ(wait(3 << 8), "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], WNOHANG, NULL) = 37");
  EXPECT_EQ(
      wait(0x89),
      "wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL && WCOREDUMP(s)}], WNOHANG, NULL) "
      "= 37");
  EXPECT_EQ(wait(0x137f),
            "wait4(-1, [{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}], WNOHANG, NULL) = 37");
  EXPECT_EQ(wait(0xffff), "wait4(-1, [{WIFCONTINUED(s)}], WNOHANG, NULL) = 37");
  std::string info = Number(17) + Number(0) + Number(1) + Number(0) + Number(37) + Number(0);
  info.resize(128);
  EXPECT_EQ(Text(Call("waitid", {1, 37, 0x6000, 4, 0}).Span(0x6000, info)),
            "waitid(1, 37, {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=37, si_uid=0, "
            "si_status=0}, WEXITED, NULL) = 0");
  EXPECT_EQ(Text(Call("waitid", {0, 0, 0x6000, 5, 0}).Span(0x6000, std::string(128, '\0'))),
            "waitid(0, 0, {}, WNOHANG|WEXITED, NULL) = 0");
  const rlimit limit{1024, RLIM_INFINITY};
  EXPECT_EQ(Text(Call("prlimit64", {0, 7, 0, 0x6000}).Span(0x6000, Raw(limit))),
            "prlimit64(0, RLIMIT_NOFILE, NULL, {rlim_cur=1024, rlim_max=RLIM_INFINITY}) = 0");
  rusage usage{};
  usage.ru_utime = {1, 2};
  EXPECT_EQ(Text(Call("getrusage", {0, 0x6000}).Span(0x6000, Raw(usage))),
            "getrusage(0, {ru_utime={1.000002}, ru_stime={0.000000}, ...}) = 0");
  EXPECT_EQ(Text(Call("sched_getaffinity", {0, 128, 0x6000}).Result(8).Span(0x6000, Number(6))),
            "sched_getaffinity(0, 128, [1 2]) = 8");
}

TEST(EventStructs, Iovec) {
  EXPECT_EQ(Text(Call("readv", {5, 0x6000, 3})
                     .Result(9)
                     .File(FD_SOCKET)
                     .Span(0x7000, "HTTP")
                     .Span(0x7100, "/1.1\n")),
            R"(readv(5<socket>, ["HTTP", "/1.1\n"], 3) = 9)");
  EXPECT_EQ(Text(Call("readv", {5, 0x6000, 2}).Result(-11)),
            "readv(5, 0x6000, 2) = -1 EAGAIN (Resource temporarily unavailable)");
  EXPECT_EQ(Text(Call("writev", {5, 0x6000, 2}).Result(9)), "writev(5, 0x6000, 2) = 9");
}

msghdr Header(std::uint64_t name, socklen_t name_length, std::uint64_t control,
              std::size_t control_length) {
  msghdr header{};
  header.msg_name = reinterpret_cast<void*>(name);
  header.msg_namelen = name_length;
  header.msg_control = reinterpret_cast<void*>(control);
  header.msg_controllen = control_length;
  return header;
}

TEST(EventStructs, Messages) {
  const msghdr plain = Header(0, 0, 0, 0);
  EXPECT_EQ(
      Text(
          Call("recvmsg", {5, 0x6000, 0x40}).Result(2).Span(0x6000, Raw(plain)).Span(0x7000, "ab")),
      R"(recvmsg(5, {msg_iov=["ab"], msg_flags=0}, MSG_DONTWAIT) = 2)");
  struct {
    std::uint64_t length = 24;
    std::int32_t level = SOL_SOCKET, type = SCM_RIGHTS;
    std::int32_t fds[2] = {8, 9};
    std::uint64_t next_length = 28;
    std::int32_t next_level = SOL_SOCKET, next_type = SCM_CREDENTIALS;
    std::int32_t ids[4] = {7, 1, 2, 0};
  } control;
  msghdr full = Header(0x6200, 16, 0x6300, sizeof control);
  full.msg_flags = MSG_CMSG_CLOEXEC;
  EXPECT_EQ(Text(Call("recvmsg", {5, 0x6000, 0})
                     .Result(2)
                     .File(FD_UNIX)
                     .Span(0x6000, Raw(full))
                     .Span(0x6200, Raw(Inet("1.2.3.4", 53)))
                     .Span(0x6300, Raw(control))
                     .Span(0x7000, "ab")),
            "recvmsg(5<unix>, {msg_name={AF_INET, 1.2.3.4:53}, msg_iov=[\"ab\"], "
            "msg_control=[{SOL_SOCKET, SCM_RIGHTS, [8, 9]}, {SOL_SOCKET, SCM_CREDENTIALS, {pid=7, "
            "uid=1, gid=2}}], msg_flags=MSG_CMSG_CLOEXEC}, 0) = 2");
  // A length that leads out of what was logged.
  control.length = 1000;
  EXPECT_EQ(Text(Call("recvmsg", {5, 0x6000, 0})
                     .Result(0)
                     .Span(0x6000, Raw(Header(0x6200, 999, 0x6300, ~std::size_t{0})))
                     .Span(0x6300, Raw(control))),
            "recvmsg(5, {msg_name=\"\", msg_iov=[], msg_control=[], msg_flags=0}, 0) = 0");
  EXPECT_EQ(Text(Call("recvmsg", {5, 0x6000, 0}).Result(2).Span(0x6000, "short")),
            "recvmsg(5, 0x6000, 0) = 2");
  EXPECT_EQ(Text(Call("recvmmsg", {5, 0x6000, 8, 0, 0})
                     .Result(2)
                     .Span(0x6000, Raw(plain))
                     .Span(0x7000, "first")
                     .Span(0x6038, Number(5) + Number(0))
                     .Span(0x6040, Raw(plain))
                     .Span(0x7100, "second")
                     .Span(0x6078, Number(6) + Number(0))),
            R"(recvmmsg(5, [{msg_iov=["first"], msg_flags=0}, {msg_iov=["second"], msg_flags=0}], )"
            "8, 0, NULL) = 2");
}

TEST(LoggedMemory, FindsWhatContainsAnAddress) {
  const std::string one = "0123456789", two = "abc";
  const std::vector<EventSpan> spans = {
      {0x1000, 0, std::as_bytes(std::span(one))},
      {0x1004, 0, std::as_bytes(std::span(two))},
      {0x2000, EVENT_SPAN_INPUT, std::as_bytes(std::span(two))},
      {~std::uint64_t{0}, 0, std::as_bytes(std::span(two))},
  };
  const LoggedMemory memory(spans);
  EXPECT_EQ(memory.From(0x1000).size(), 10u);
  EXPECT_EQ(memory.From(0x1003).size(), 7u);
  EXPECT_EQ(memory.From(0x1004).size(), 3u);  // begins there
  EXPECT_EQ(memory.From(0x1009).size(), 1u);
  EXPECT_TRUE(memory.From(0x100a).empty());
  EXPECT_TRUE(memory.From(0xfff).empty());
  EXPECT_TRUE(memory.From(0x2000).empty());
  EXPECT_EQ(memory.From(0x2000, LoggedMemory::Side::kRead).size(), 3u);
  EXPECT_EQ(memory.Get<std::uint16_t>(0x1008), 0x3938);
  EXPECT_EQ(memory.Get<std::uint32_t>(0x1008), std::nullopt);
}

}  // namespace
}  // namespace migrate
