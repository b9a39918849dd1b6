#include "cli/event_names.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <span>
#include <string_view>

namespace migrate {
namespace {

struct Name {
  std::uint64_t value;
  std::string_view text;
};
using Names = std::span<const Name>;

#define N(name) \
  { static_cast<std::uint64_t>(name), #name }

// Flags of several bits come before those of one of them.
constexpr Name kOpenFlags[] = {N(O_CREAT),
                               N(O_EXCL),
                               N(O_NOCTTY),
                               N(O_TRUNC),
                               N(O_APPEND),
                               N(O_NONBLOCK),
                               N(O_SYNC),
                               N(O_DSYNC),
                               N(O_ASYNC),
                               N(O_DIRECT),
                               {0x8000, "O_LARGEFILE"},
                               N(O_TMPFILE),
                               N(O_DIRECTORY),
                               N(O_NOFOLLOW),
                               N(O_NOATIME),
                               N(O_CLOEXEC),
                               N(O_PATH)};
constexpr Name kAccess[] = {N(R_OK), N(W_OK), N(X_OK)};
constexpr Name kAtFlags[] = {N(AT_SYMLINK_NOFOLLOW), N(AT_SYMLINK_FOLLOW),   N(AT_NO_AUTOMOUNT),
                             N(AT_EMPTY_PATH),       N(AT_STATX_FORCE_SYNC), N(AT_STATX_DONT_SYNC)};
constexpr Name kWhence[] = {N(SEEK_SET), N(SEEK_CUR), N(SEEK_END), N(SEEK_DATA), N(SEEK_HOLE)};
constexpr Name kProtection[] = {N(PROT_READ), N(PROT_WRITE), N(PROT_EXEC), N(PROT_GROWSDOWN),
                                N(PROT_GROWSUP)};
constexpr Name kMapTypes[] = {N(MAP_SHARED), N(MAP_PRIVATE), N(MAP_SHARED_VALIDATE)};
constexpr Name kMapFlags[] = {
    N(MAP_FIXED),      N(MAP_ANONYMOUS), N(MAP_32BIT),     N(MAP_GROWSDOWN),      N(MAP_DENYWRITE),
    N(MAP_EXECUTABLE), N(MAP_LOCKED),    N(MAP_NORESERVE), N(MAP_POPULATE),       N(MAP_NONBLOCK),
    N(MAP_STACK),      N(MAP_HUGETLB),   N(MAP_SYNC),      N(MAP_FIXED_NOREPLACE)};
constexpr Name kAdvice[] = {N(MADV_NORMAL),         N(MADV_RANDOM),
                            N(MADV_SEQUENTIAL),     N(MADV_WILLNEED),
                            N(MADV_DONTNEED),       N(MADV_FREE),
                            N(MADV_REMOVE),         N(MADV_DONTFORK),
                            N(MADV_DOFORK),         N(MADV_MERGEABLE),
                            N(MADV_UNMERGEABLE),    N(MADV_HUGEPAGE),
                            N(MADV_NOHUGEPAGE),     N(MADV_DONTDUMP),
                            N(MADV_DODUMP),         N(MADV_WIPEONFORK),
                            N(MADV_KEEPONFORK),     N(MADV_COLD),
                            N(MADV_PAGEOUT),        N(MADV_POPULATE_READ),
                            N(MADV_POPULATE_WRITE), {24, "MADV_DONTNEED_LOCKED"},
                            {25, "MADV_COLLAPSE"}};
constexpr Name kCloneFlags[] = {N(CLONE_VM),
                                N(CLONE_FS),
                                N(CLONE_FILES),
                                N(CLONE_SIGHAND),
                                N(CLONE_PIDFD),
                                N(CLONE_PTRACE),
                                N(CLONE_VFORK),
                                N(CLONE_PARENT),
                                N(CLONE_THREAD),
                                N(CLONE_NEWNS),
                                N(CLONE_SYSVSEM),
                                N(CLONE_SETTLS),
                                N(CLONE_PARENT_SETTID),
                                N(CLONE_CHILD_CLEARTID),
                                N(CLONE_DETACHED),
                                N(CLONE_UNTRACED),
                                N(CLONE_CHILD_SETTID),
                                N(CLONE_NEWCGROUP),
                                N(CLONE_NEWUTS),
                                N(CLONE_NEWIPC),
                                N(CLONE_NEWUSER),
                                N(CLONE_NEWPID),
                                N(CLONE_NEWNET),
                                N(CLONE_IO)};
constexpr Name kWaitFlags[] = {N(WNOHANG), N(WUNTRACED),   N(WEXITED), N(WCONTINUED),
                               N(WNOWAIT), N(__WNOTHREAD), N(__WALL),  N(__WCLONE)};
constexpr Name kFamilies[] = {N(AF_UNSPEC),  N(AF_UNIX),   N(AF_INET), N(AF_INET6),
                              N(AF_NETLINK), N(AF_PACKET), N(AF_ALG),  N(AF_VSOCK)};
constexpr Name kSocketTypes[] = {N(SOCK_STREAM), N(SOCK_DGRAM),     N(SOCK_RAW),
                                 N(SOCK_RDM),    N(SOCK_SEQPACKET), N(SOCK_PACKET)};
constexpr Name kSocketFlags[] = {N(SOCK_CLOEXEC), N(SOCK_NONBLOCK)};
constexpr Name kMessageFlags[] = {
    N(MSG_OOB),        N(MSG_PEEK),     N(MSG_DONTROUTE), N(MSG_CTRUNC),
    N(MSG_TRUNC),      N(MSG_DONTWAIT), N(MSG_EOR),       N(MSG_WAITALL),
    N(MSG_CONFIRM),    N(MSG_ERRQUEUE), N(MSG_NOSIGNAL),  N(MSG_MORE),
    N(MSG_WAITFORONE), N(MSG_ZEROCOPY), N(MSG_FASTOPEN),  N(MSG_CMSG_CLOEXEC)};
constexpr Name kEpollOperations[] = {N(EPOLL_CTL_ADD), N(EPOLL_CTL_DEL), N(EPOLL_CTL_MOD)};
constexpr Name kFutexOperations[] = {
    N(FUTEX_WAIT),           N(FUTEX_WAKE),         N(FUTEX_FD),          N(FUTEX_REQUEUE),
    N(FUTEX_CMP_REQUEUE),    N(FUTEX_WAKE_OP),      N(FUTEX_LOCK_PI),     N(FUTEX_UNLOCK_PI),
    N(FUTEX_TRYLOCK_PI),     N(FUTEX_WAIT_BITSET),  N(FUTEX_WAKE_BITSET), N(FUTEX_WAIT_REQUEUE_PI),
    N(FUTEX_CMP_REQUEUE_PI), {13, "FUTEX_LOCK_PI2"}};
constexpr Name kClocks[] = {N(CLOCK_REALTIME),
                            N(CLOCK_MONOTONIC),
                            N(CLOCK_PROCESS_CPUTIME_ID),
                            N(CLOCK_THREAD_CPUTIME_ID),
                            N(CLOCK_MONOTONIC_RAW),
                            N(CLOCK_REALTIME_COARSE),
                            N(CLOCK_MONOTONIC_COARSE),
                            N(CLOCK_BOOTTIME),
                            N(CLOCK_REALTIME_ALARM),
                            N(CLOCK_BOOTTIME_ALARM),
                            N(CLOCK_TAI)};
constexpr Name kSignalHow[] = {N(SIG_BLOCK), N(SIG_UNBLOCK), N(SIG_SETMASK)};
constexpr Name kResources[] = {
    N(RLIMIT_CPU),      N(RLIMIT_FSIZE), N(RLIMIT_DATA),   N(RLIMIT_STACK),
    N(RLIMIT_CORE),     N(RLIMIT_RSS),   N(RLIMIT_NPROC),  N(RLIMIT_NOFILE),
    N(RLIMIT_MEMLOCK),  N(RLIMIT_AS),    N(RLIMIT_LOCKS),  N(RLIMIT_SIGPENDING),
    N(RLIMIT_MSGQUEUE), N(RLIMIT_NICE),  N(RLIMIT_RTPRIO), N(RLIMIT_RTTIME)};
constexpr Name kFdFlags[] = {N(FD_CLOEXEC)};
constexpr Name kPollEvents[] = {N(POLLIN),     N(POLLPRI),    N(POLLOUT),    N(POLLERR),
                                N(POLLHUP),    N(POLLNVAL),   N(POLLRDNORM), N(POLLRDBAND),
                                N(POLLWRNORM), N(POLLWRBAND), N(POLLMSG),    N(POLLRDHUP)};
constexpr Name kEpollEvents[] = {N(EPOLLIN),     N(EPOLLPRI),     N(EPOLLOUT),    N(EPOLLERR),
                                 N(EPOLLHUP),    N(EPOLLRDNORM),  N(EPOLLRDBAND), N(EPOLLWRNORM),
                                 N(EPOLLWRBAND), N(EPOLLMSG),     N(EPOLLRDHUP),  N(EPOLLEXCLUSIVE),
                                 N(EPOLLWAKEUP), N(EPOLLONESHOT), N(EPOLLET)};
constexpr Name kFileTypes[] = {N(S_IFSOCK), N(S_IFLNK), N(S_IFREG), N(S_IFBLK),
                               N(S_IFDIR),  N(S_IFCHR), N(S_IFIFO)};
constexpr Name kActionFlags[] = {
    N(SA_NOCLDSTOP), N(SA_NOCLDWAIT), N(SA_SIGINFO), {0x04000000, "SA_RESTORER"},
    N(SA_ONSTACK),   N(SA_RESTART),   N(SA_NODEFER), {0x80000000, "SA_RESETHAND"}};

constexpr Name kSocketLevels[] = {N(SOL_SOCKET),
                                  {IPPROTO_IP, "SOL_IP"},
                                  {IPPROTO_TCP, "SOL_TCP"},
                                  {IPPROTO_UDP, "SOL_UDP"},
                                  {IPPROTO_IPV6, "SOL_IPV6"},
                                  N(SOL_NETLINK),
                                  N(SOL_PACKET)};
constexpr Name kSocketOptions[] = {
    N(SO_DEBUG),        N(SO_REUSEADDR),     N(SO_TYPE),          N(SO_ERROR),
    N(SO_DONTROUTE),    N(SO_BROADCAST),     N(SO_SNDBUF),        N(SO_RCVBUF),
    N(SO_KEEPALIVE),    N(SO_OOBINLINE),     N(SO_NO_CHECK),      N(SO_PRIORITY),
    N(SO_LINGER),       N(SO_REUSEPORT),     N(SO_PASSCRED),      N(SO_PEERCRED),
    N(SO_RCVLOWAT),     N(SO_SNDLOWAT),      N(SO_RCVTIMEO),      N(SO_SNDTIMEO),
    N(SO_BINDTODEVICE), N(SO_ATTACH_FILTER), N(SO_DETACH_FILTER), N(SO_PEERNAME),
    N(SO_TIMESTAMP),    N(SO_ACCEPTCONN),    N(SO_PEERSEC),       N(SO_SNDBUFFORCE),
    N(SO_PASSSEC),      N(SO_RCVBUFFORCE),   N(SO_TIMESTAMPNS),   N(SO_MARK),
    N(SO_TIMESTAMPING), N(SO_PROTOCOL),      N(SO_DOMAIN),        N(SO_RXQ_OVFL),
    N(SO_PEEK_OFF),     N(SO_BUSY_POLL),     N(SO_INCOMING_CPU),  N(SO_PEERGROUPS),
    N(SO_ZEROCOPY),     N(SO_COOKIE)};
constexpr Name kTcpOptions[] = {
    N(TCP_NODELAY),       N(TCP_MAXSEG),           N(TCP_CORK),     N(TCP_KEEPIDLE),
    N(TCP_KEEPINTVL),     N(TCP_KEEPCNT),          N(TCP_SYNCNT),   N(TCP_LINGER2),
    N(TCP_DEFER_ACCEPT),  N(TCP_WINDOW_CLAMP),     N(TCP_INFO),     N(TCP_QUICKACK),
    N(TCP_CONGESTION),    N(TCP_USER_TIMEOUT),     N(TCP_FASTOPEN), N(TCP_TIMESTAMP),
    N(TCP_NOTSENT_LOWAT), N(TCP_FASTOPEN_CONNECT), N(TCP_ULP)};
constexpr Name kIpOptions[] = {N(IP_TOS),
                               N(IP_TTL),
                               N(IP_HDRINCL),
                               N(IP_OPTIONS),
                               N(IP_RECVOPTS),
                               N(IP_PKTINFO),
                               N(IP_MTU_DISCOVER),
                               N(IP_RECVERR),
                               N(IP_RECVTTL),
                               N(IP_RECVTOS),
                               N(IP_MTU),
                               N(IP_FREEBIND),
                               N(IP_TRANSPARENT),
                               N(IP_BIND_ADDRESS_NO_PORT),
                               N(IP_MULTICAST_IF),
                               N(IP_MULTICAST_TTL),
                               N(IP_MULTICAST_LOOP),
                               N(IP_ADD_MEMBERSHIP),
                               N(IP_DROP_MEMBERSHIP)};
constexpr Name kIpv6Options[] = {
    N(IPV6_UNICAST_HOPS), N(IPV6_MULTICAST_IF), N(IPV6_MULTICAST_HOPS), N(IPV6_MULTICAST_LOOP),
    N(IPV6_MTU_DISCOVER), N(IPV6_MTU),          N(IPV6_RECVERR),        N(IPV6_V6ONLY),
    N(IPV6_RECVPKTINFO),  N(IPV6_PKTINFO),      N(IPV6_RECVHOPLIMIT),   N(IPV6_HOPLIMIT),
    N(IPV6_RECVTCLASS),   N(IPV6_TCLASS)};
constexpr Name kControlMessages[] = {N(SCM_RIGHTS), N(SCM_CREDENTIALS), N(SO_TIMESTAMP),
                                     N(SO_TIMESTAMPNS)};

constexpr Name kUserCodes[] = {N(SI_USER),  N(SI_KERNEL),  N(SI_QUEUE), N(SI_TIMER),
                               N(SI_MESGQ), N(SI_ASYNCIO), N(SI_SIGIO), N(SI_TKILL)};
constexpr Name kChildCodes[] = {N(CLD_EXITED),  N(CLD_KILLED),  N(CLD_DUMPED),
                                N(CLD_TRAPPED), N(CLD_STOPPED), N(CLD_CONTINUED)};
constexpr Name kSegvCodes[] = {
    N(SEGV_MAPERR), N(SEGV_ACCERR), {3, "SEGV_BNDERR"}, {4, "SEGV_PKUERR"}};
constexpr Name kBusCodes[] = {N(BUS_ADRALN), N(BUS_ADRERR), N(BUS_OBJERR)};
constexpr Name kFpeCodes[] = {N(FPE_INTDIV), N(FPE_INTOVF), N(FPE_FLTDIV), N(FPE_FLTOVF),
                              N(FPE_FLTUND), N(FPE_FLTRES), N(FPE_FLTINV), N(FPE_FLTSUB)};
constexpr Name kPollCodes[] = {N(POLL_IN),  N(POLL_OUT), N(POLL_MSG),
                               N(POLL_ERR), N(POLL_PRI), N(POLL_HUP)};

#undef N

struct Command {
  std::uint32_t number;
  CommandText text;
};
constexpr CommandText Shown(std::uint8_t shown, ArgKind argument = ArgKind::kHex,
                            ArgKind result = ArgKind::kLong) {
  return {shown, argument, ArgKind::kPointer, result};
}
constexpr Command kFcntl[] = {
    {F_DUPFD, Shown(1, ArgKind::kInt)},
    {F_GETFD, Shown(0, ArgKind::kHex, ArgKind::kFdFlags)},
    {F_SETFD, Shown(1, ArgKind::kFdFlags)},
    {F_GETFL, Shown(0, ArgKind::kHex, ArgKind::kOpenFlags)},
    {F_SETFL, Shown(1, ArgKind::kOpenFlags)},
    {F_SETOWN, Shown(1, ArgKind::kInt)},
    {F_GETOWN, Shown(0)},
    {F_SETSIG, Shown(1, ArgKind::kSignal)},
    {F_GETSIG, Shown(0)},
    {F_GETLEASE, Shown(0)},
    {1027, Shown(1, ArgKind::kInt)},  // F_DUPFD_QUERY
    {1028, Shown(0)},                 // F_CREATED_QUERY
    {F_DUPFD_CLOEXEC, Shown(1, ArgKind::kInt)},
    {F_SETPIPE_SZ, Shown(1, ArgKind::kInt)},
    {F_GETPIPE_SZ, Shown(0)},
    {F_GET_SEALS, Shown(0)},
};
constexpr Command kPrctl[] = {
    {PR_SET_PDEATHSIG, Shown(1, ArgKind::kSignal)},
    {PR_GET_PDEATHSIG, Shown(1)},
    {PR_GET_DUMPABLE, Shown(0)},
    {PR_SET_DUMPABLE, Shown(1, ArgKind::kInt)},
    {PR_SET_KEEPCAPS, Shown(1, ArgKind::kInt)},
    {PR_SET_NAME, Shown(1, ArgKind::kPointer)},
    {PR_GET_NAME, Shown(1)},
    {PR_GET_SECCOMP, Shown(0)},
    {PR_SET_SECCOMP, Shown(3, ArgKind::kInt)},
    {PR_CAPBSET_READ, Shown(1, ArgKind::kInt)},
    {PR_CAPBSET_DROP, Shown(1, ArgKind::kInt)},
    {PR_SET_TIMERSLACK, Shown(1, ArgKind::kSize)},
    {PR_GET_TIMERSLACK, Shown(0)},
    {PR_SET_CHILD_SUBREAPER, Shown(1, ArgKind::kInt)},
    {PR_GET_CHILD_SUBREAPER, Shown(1)},
    {PR_GET_TID_ADDRESS, Shown(1)},
    {PR_SET_PTRACER, Shown(1)},
};
// Behind it: a value, a time-out or second value, the second word, a third value.
constexpr CommandText Wakes(std::uint8_t shown) {
  return {shown, ArgKind::kHex, ArgKind::kUnsigned, ArgKind::kLong};
}
constexpr Command kFutex[] = {
    {FUTEX_WAIT, Shown(0b0011)},
    {FUTEX_WAKE, Shown(0b0001)},
    {FUTEX_FD, Shown(0b0001)},
    {FUTEX_REQUEUE, Wakes(0b0111)},
    {FUTEX_CMP_REQUEUE, Wakes(0b1111)},
    {FUTEX_WAKE_OP, Wakes(0b1111)},
    {FUTEX_LOCK_PI, Shown(0b0010)},
    {FUTEX_UNLOCK_PI, Shown(0)},
    {FUTEX_TRYLOCK_PI, Shown(0)},
    {FUTEX_WAIT_BITSET, Shown(0b1011)},
    {FUTEX_WAKE_BITSET, Shown(0b1001)},
    {FUTEX_WAIT_REQUEUE_PI, Shown(0b0111)},
    {FUTEX_CMP_REQUEUE_PI, Wakes(0b1111)},
    {13 /* LOCK_PI2 */, Shown(0b0010)},
};

template <typename... Values>
std::string Print(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::string_view Find(Names names, std::uint64_t value) {
  const auto found = std::ranges::find(names, value, &Name::value);
  return found == names.end() ? std::string_view() : found->text;
}

// The name, or the number: signed, since -1 is one that people pass.
std::string OneOf(Names names, std::uint64_t value) {
  const std::string_view name = Find(names, static_cast<std::uint32_t>(value));
  return name.empty() ? std::to_string(static_cast<std::int32_t>(value)) : std::string(name);
}

void Add(std::string& text, std::string_view part) {
  text += text.empty() ? "" : "|";
  text += part;
}

// `text`: what is known already; `none`: if there is nothing at all.
std::string FlagsOf(Names names, std::uint64_t value, std::string text = {},
                    std::string_view none = "0") {
  for (const Name& name : names) {
    if (name.value != 0 && (value & name.value) == name.value) {
      Add(text, name.text);
      value &= ~name.value;
    }
  }
  if (value != 0) {
    Add(text, HexText(value));
  }
  return text.empty() ? std::string(none) : text;
}

std::string OpenFlagsText(std::uint64_t value) {
  static constexpr std::string_view kModes[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};
  const auto flags = static_cast<std::uint32_t>(value);
  return FlagsOf(kOpenFlags, flags & ~std::uint32_t{O_ACCMODE},
                 std::string(kModes[flags & O_ACCMODE]));
}

std::string MapFlagsText(std::uint64_t value) {
  const std::string_view type = Find(kMapTypes, value & MAP_TYPE);
  return FlagsOf(kMapFlags, type.empty() ? value : value & ~std::uint64_t{MAP_TYPE},
                 std::string(type));
}

// The signal that the parent gets is in the low byte.
std::string CloneFlagsText(std::uint64_t value) {
  std::string text = FlagsOf(kCloneFlags, value & ~std::uint64_t{0xff}, {}, "");
  if ((value & 0xff) != 0) {
    Add(text, SignalText(value & 0xff));
  }
  return text.empty() ? "0" : text;
}

std::string SocketTypeText(std::uint64_t value) {
  const std::uint64_t flags = value & (SOCK_CLOEXEC | SOCK_NONBLOCK);
  const std::uint64_t type = static_cast<std::uint32_t>(value) & ~flags;
  // Of accept4 it is only flags.
  return FlagsOf(kSocketFlags, flags, type == 0 ? std::string() : OneOf(kSocketTypes, type));
}

std::string FutexText(std::uint64_t value) {
  const auto operation = static_cast<std::uint32_t>(value);
  std::string text = OneOf(kFutexOperations, operation & FUTEX_CMD_MASK);
  text += (operation & FUTEX_PRIVATE_FLAG) != 0 ? "_PRIVATE" : "";
  text += (operation & FUTEX_CLOCK_REALTIME) != 0 ? "|FUTEX_CLOCK_REALTIME" : "";
  return text;
}

// A negative one is the CPU time of a task.
std::string ClockText(std::uint64_t value) {
  const auto clock = static_cast<std::int32_t>(value);
  if (clock >= 0) {
    return OneOf(kClocks, value);
  }
  static constexpr const char* kTypes[] = {"CPUCLOCK_PROF", "CPUCLOCK_VIRT", "CPUCLOCK_SCHED",
                                           "CLOCKFD"};
  return Print("MAKE_%s_CPUCLOCK(%d, %s)", (clock & 4) != 0 ? "THREAD" : "PROCESS", ~(clock >> 3),
               kTypes[clock & 3]);
}

std::string CommandName(output_kind kind, std::uint64_t command) {
  const CommandSize* known = FindCommand({kind, static_cast<std::uint32_t>(command)});
  return known == nullptr ? HexText(static_cast<std::uint32_t>(command)) : std::string(known->name);
}

}  // namespace

std::string HexText(std::uint64_t value) {
  return value == 0 ? "0" : Print("%#llx", static_cast<unsigned long long>(value));
}

std::string PointerText(std::uint64_t value) { return value == 0 ? "NULL" : HexText(value); }

std::string OctalText(std::uint64_t value) {
  return Print("%#03llo", static_cast<unsigned long long>(value));
}

std::string SignalText(std::uint64_t signal) {
  constexpr std::uint64_t kFirstRealtime = 32;  // of the kernel
  if (signal == 0 || signal > 64) {
    return std::to_string(static_cast<std::int32_t>(signal));
  }
  if (signal >= kFirstRealtime) {
    return signal == kFirstRealtime ? "SIGRTMIN"
                                    : "SIGRT_" + std::to_string(signal - kFirstRealtime);
  }
  const char* name = sigabbrev_np(static_cast<int>(signal));
  return name == nullptr ? std::to_string(signal) : "SIG" + std::string(name);
}

std::string SignalCodeText(int signal, int code) {
  Names names;
  switch (signal) {
    case SIGCHLD:
      names = kChildCodes;
      break;
    case SIGSEGV:
      names = kSegvCodes;
      break;
    case SIGBUS:
      names = kBusCodes;
      break;
    case SIGFPE:
      names = kFpeCodes;
      break;
    case SIGIO:
      names = kPollCodes;
      break;
    default:
      break;
  }
  std::string_view name = code > 0 ? Find(names, static_cast<std::uint64_t>(code)) : "";
  if (name.empty()) {
    name = Find(kUserCodes, static_cast<std::uint64_t>(std::int64_t{code}));
  }
  return name.empty() ? std::to_string(code) : std::string(name);
}

std::string ErrorText(int error) {
  const char* name = strerrorname_np(error);
  return name == nullptr ? "(errno " + std::to_string(error) + ")"
                         : std::string(name) + " (" + strerrordesc_np(error) + ")";
}

std::string AtFlagsText(std::uint64_t flags, bool access) {
  static_assert(AT_REMOVEDIR == AT_EACCESS);
  const auto bits = static_cast<std::uint32_t>(flags);
  std::string text = FlagsOf(kAtFlags, bits & ~std::uint32_t{AT_REMOVEDIR}, {}, "");
  if ((bits & AT_REMOVEDIR) != 0) {
    Add(text, access ? "AT_EACCESS" : "AT_REMOVEDIR");
  }
  return text.empty() ? "0" : text;
}

std::string SocketOptionText(std::uint64_t level, std::uint64_t option) {
  switch (static_cast<std::int32_t>(level)) {
    case SOL_SOCKET:
      return OneOf(kSocketOptions, option);
    case IPPROTO_TCP:
      return OneOf(kTcpOptions, option);
    case IPPROTO_IP:
      return OneOf(kIpOptions, option);
    case IPPROTO_IPV6:
      return OneOf(kIpv6Options, option);
    default:
      return std::to_string(static_cast<std::int32_t>(option));
  }
}

std::string ControlMessageText(int level, int type) {
  const auto number = static_cast<std::uint64_t>(static_cast<std::uint32_t>(type));
  return OneOf(kSocketLevels, static_cast<std::uint32_t>(level)) + ", " +
         (level == SOL_SOCKET ? OneOf(kControlMessages, number)
                              : SocketOptionText(static_cast<std::uint32_t>(level), number));
}

std::string PollEventsText(std::uint64_t events) { return FlagsOf(kPollEvents, events); }
std::string EpollEventsText(std::uint64_t events) { return FlagsOf(kEpollEvents, events); }
std::string SignalFlagsText(std::uint64_t sa_flags) { return FlagsOf(kActionFlags, sa_flags); }

std::string FileModeText(std::uint64_t mode) {
  const std::string_view type = Find(kFileTypes, mode & S_IFMT);
  const std::string permissions = OctalText(type.empty() ? mode : mode & ~std::uint64_t{S_IFMT});
  return type.empty() ? permissions : std::string(type) + "|" + permissions;
}

std::string IoctlText(std::uint32_t command) {
  if (const CommandSize* known = FindCommand({OUT_IOCTL, command})) {
    return std::string(known->name);
  }
  static constexpr const char* kDirections[] = {"_IOC_NONE", "_IOC_WRITE", "_IOC_READ",
                                                "_IOC_READ|_IOC_WRITE"};
  return Print("_IOC(%s, %#x, %#x, %#x)", kDirections[command >> 30], command >> 8 & 0xff,
               command & 0xff, command >> 16 & 0x3fff);
}

std::optional<std::string> NamedText(ArgKind kind, std::uint64_t value) {
  const auto low = static_cast<std::uint32_t>(value);
  switch (kind) {
    case ArgKind::kSignal:
      return SignalText(low);
    case ArgKind::kOpenFlags:
      return OpenFlagsText(value);
    case ArgKind::kCreationFlags:
      return FlagsOf(kOpenFlags, low);
    case ArgKind::kFdFlags:
      return FlagsOf(kFdFlags, low);
    case ArgKind::kAccessMode:
      return FlagsOf(kAccess, low, {}, "F_OK");
    case ArgKind::kWhence:
      return OneOf(kWhence, value);
    case ArgKind::kProtection:
      return FlagsOf(kProtection, value, {}, "PROT_NONE");
    case ArgKind::kMapFlags:
      return MapFlagsText(value);
    case ArgKind::kAdvice:
      return OneOf(kAdvice, value);
    case ArgKind::kCloneFlags:
      return CloneFlagsText(value);
    case ArgKind::kWaitFlags:
      return FlagsOf(kWaitFlags, low);
    case ArgKind::kFamily:
      return OneOf(kFamilies, value);
    case ArgKind::kSocketType:
      return SocketTypeText(value);
    case ArgKind::kSocketLevel:
      return OneOf(kSocketLevels, value);
    case ArgKind::kMessageFlags:
      return FlagsOf(kMessageFlags, low);
    case ArgKind::kEpollOperation:
      return OneOf(kEpollOperations, value);
    case ArgKind::kFutexOperation:
      return FutexText(value);
    case ArgKind::kClock:
      return ClockText(value);
    case ArgKind::kSignalHow:
      return OneOf(kSignalHow, value);
    case ArgKind::kResource:
      return OneOf(kResources, value);
    case ArgKind::kFcntlCommand:
      return CommandName(OUT_FCNTL, value);
    case ArgKind::kIoctlCommand:
      return IoctlText(low);
    case ArgKind::kPrctlCommand:
      return CommandName(OUT_PRCTL, value);
    default:
      return std::nullopt;
  }
}

CommandText CommandTextOf(ArgKind kind, std::uint32_t command) {
  std::span<const Command> commands;
  if (kind == ArgKind::kFcntlCommand) {
    commands = kFcntl;
  } else if (kind == ArgKind::kPrctlCommand) {
    commands = kPrctl;
  } else if (kind == ArgKind::kFutexOperation) {
    commands = kFutex;
    command &= FUTEX_CMD_MASK;
  }
  const auto found = std::ranges::find(commands, command, &Command::number);
  return found == commands.end() ? CommandText() : found->text;
}

}  // namespace migrate
