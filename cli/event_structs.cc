#include "cli/event_structs.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <cstdio>

#include "base/limits.h"
#include "cli/event_names.h"

namespace migrate {
namespace {

constexpr std::uint64_t kAllSignals = 64;
constexpr std::size_t kMostBitBytes = 128 * 1024;  // 2^20 descriptors, the kernel's own limit

template <typename... Values>
std::string Print(const char* format, Values... values) {
  char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

// [a, b]: one element after the other as long as they are whole; `size`: bytes of one.
template <typename Element>
std::string ListText(Bytes bytes, std::size_t limit, std::string_view separator, Element element) {
  using Value = typename Element::Value;
  std::string text = "[";
  std::size_t shown = 0;
  for (; bytes.size() >= sizeof(Value); bytes = bytes.subspan(sizeof(Value))) {
    text += shown == 0 ? "" : separator;
    if (shown++ == limit) {
      text += "...";
      break;
    }
    text += element(*ValueOf<Value>(bytes));
  }
  return text + "]";
}

struct IntElement {
  using Value = std::int32_t;
  std::string operator()(Value value) const { return std::to_string(value); }
};
struct LongElement {
  using Value = std::int64_t;
  std::string operator()(Value value) const { return std::to_string(value); }
};
struct PollElement {
  using Value = pollfd;
  std::string operator()(const Value& value) const {
    std::string text = Print("{fd=%d, events=", value.fd) +
                       PollEventsText(static_cast<std::uint16_t>(value.events));
    if (value.revents != 0) {
      text += ", revents=" + PollEventsText(static_cast<std::uint16_t>(value.revents));
    }
    return text + "}";
  }
};
struct EpollElement {
  using Value = epoll_event;
  std::string operator()(const Value& value) const {
    return "{" + EpollEventsText(value.events) + ", data=" + HexText(value.data.u64) + "}";
  }
};

std::string TimeText(Bytes bytes, int digits) {
  const auto seconds = ValueOf<std::uint64_t>(bytes);
  const auto fraction = ValueOf<std::uint64_t>(bytes.subspan(sizeof *seconds));
  return "{" + SecondsText(*seconds, *fraction, digits) + "}";
}

// Interval and value: itimerspec, itimerval.
std::string TimerText(Bytes bytes, int digits) {
  static_assert(sizeof(itimerspec) == 32 && sizeof(itimerval) == 32);
  return "{interval=" + TimeText(bytes.first(16), digits) +
         ", value=" + TimeText(bytes.subspan(16), digits) + "}";
}

std::string SigsetText(std::uint64_t set) {
  const bool most = __builtin_popcountll(set) > 32;
  std::string text = most ? "~[" : "[";
  const std::size_t begin = text.size();
  for (std::uint64_t signal = 1; signal <= kAllSignals; ++signal) {
    if (((set >> (signal - 1) & 1) != 0) != most) {
      text += text.size() == begin ? "" : " ";
      const std::string name = SignalText(signal);
      text += name.starts_with("SIG") ? name.substr(3) : name;
    }
  }
  return text + "]";
}

// As the kernel has it.
struct KernelSigaction {
  std::uint64_t handler;
  std::uint64_t flags;
  std::uint64_t restorer;
  std::uint64_t mask;
};

std::string SigactionText(const KernelSigaction& action) {
  const std::string handler = action.handler == 0   ? "SIG_DFL"
                              : action.handler == 1 ? "SIG_IGN"
                                                    : HexText(action.handler);
  return "{sa_handler=" + handler + ", sa_mask=" + SigsetText(action.mask) +
         ", sa_flags=" + SignalFlagsText(action.flags) + "}";
}

std::string StatText(Bytes bytes) {
  struct stat st;
  std::memcpy(&st, bytes.data(), sizeof st);
  return "{st_mode=" + FileModeText(st.st_mode) +
         Print(", st_size=%lld, ...}", static_cast<long long>(st.st_size));
}

std::string StatxText(Bytes bytes) {
  struct statx st;
  std::memcpy(&st, bytes.data(), sizeof st);
  return "{stx_mode=" + FileModeText(st.stx_mode) +
         Print(", stx_size=%llu, ...}", static_cast<unsigned long long>(st.stx_size));
}

// Beside one that was delivered its number is known.
std::string WholeSiginfoText(Bytes bytes) {
  const std::uint32_t signal = *ValueOf<std::uint32_t>(bytes);
  return signal == 0 ? "{}"
                     : "{si_signo=" + SignalText(signal) + ", " + SiginfoText(bytes).substr(1);
}

std::string LimitText(std::uint64_t limit) {
  return limit == RLIM_INFINITY ? "RLIM_INFINITY" : std::to_string(limit);
}

std::string RusageText(Bytes bytes) {
  return "{ru_utime=" + TimeText(bytes.first(16), 6) +
         ", ru_stime=" + TimeText(bytes.subspan(16, 16), 6) + ", ...}";
}

std::string WaitStatusText(std::uint32_t status) {
  if (status == 0xffff) {
    return "[{WIFCONTINUED(s)}]";
  }
  if ((status & 0xff) == 0x7f) {
    return "[{WIFSTOPPED(s) && WSTOPSIG(s) == " + SignalText(status >> 8 & 0xff) + "}]";
  }
  if ((status & 0x7f) == 0) {
    return Print("[{WIFEXITED(s) && WEXITSTATUS(s) == %u}]", status >> 8 & 0xff);
  }
  return "[{WIFSIGNALED(s) && WTERMSIG(s) == " + SignalText(status & 0x7f) +
         ((status & 0x80) != 0 ? " && WCOREDUMP(s)}]" : "}]");
}

// How many names of a directory: linux_dirent and linux_dirent64 have their length at the same
// place.
std::string DirentsText(Bytes bytes) {
  constexpr std::size_t kLengthOffset = 16;
  std::size_t entries = 0;
  while (bytes.size() > kLengthOffset) {
    const auto length = ValueOf<std::uint16_t>(bytes.subspan(kLengthOffset));
    if (!length || *length <= kLengthOffset || *length > bytes.size()) {
      break;
    }
    ++entries;
    bytes = bytes.subspan(*length);
  }
  return Print("/* %zu entries */", entries);
}

std::string BitsText(Bytes bytes, std::size_t limit) {
  std::string text = "[";
  std::size_t shown = 0;
  const std::size_t bits = std::min(bytes.size(), kMostBitBytes) * 8;
  for (std::size_t bit = 0; bit < bits; ++bit) {
    if ((std::to_integer<unsigned>(bytes[bit / 8]) >> bit % 8 & 1) == 0) {
      continue;
    }
    text += shown == 0 ? "" : " ";
    if (shown++ == limit) {
      text += "...";
      break;
    }
    text += std::to_string(bit);
  }
  return text + "]";
}

// The bytes that a structure of this kind has at least.
std::size_t LeastBytes(ArgKind kind) {
  switch (kind) {
    case ArgKind::kTimespec:
    case ArgKind::kTimeval:
    case ArgKind::kFutexTimeout:
    case ArgKind::kRlimit:
      return 16;
    case ArgKind::kItimerspec:
    case ArgKind::kItimerval:
    case ArgKind::kRusage:
    case ArgKind::kSiginfo:
      return 32;
    case ArgKind::kSigset:
    case ArgKind::kInt64Pointer:
      return 8;
    case ArgKind::kInt32Pointer:
    case ArgKind::kWaitStatus:
      return 4;
    case ArgKind::kSigaction:
      return sizeof(KernelSigaction);
    case ArgKind::kStat:
      return sizeof(struct stat);
    case ArgKind::kStatx:
      return sizeof(struct statx);
    default:
      return 0;
  }
}

void AppendEscaped(std::string& text, Bytes bytes, std::size_t at) {
  const auto c = std::to_integer<unsigned char>(bytes[at]);
  constexpr std::string_view kSpecial = "\"\\\n\t\r\v\f";
  constexpr std::string_view kEscaped = "\"\\ntrvf";
  if (const std::size_t special = kSpecial.find(static_cast<char>(c));
      special != std::string_view::npos) {
    text += '\\';
    text += kEscaped[special];
  } else if (c >= 0x20 && c < 0x7f) {
    text += static_cast<char>(c);
  } else {
    // Octal and short, unless a digit follows.
    const auto next = at + 1 < bytes.size() ? std::to_integer<unsigned char>(bytes[at + 1]) : 0;
    text += Print(next >= '0' && next <= '9' ? "\\%03o" : "\\%o", unsigned{c});
  }
}

}  // namespace

std::string QuotedText(Bytes bytes, std::size_t limit, bool cut) {
  const Bytes shown = bytes.first(std::min(limit, bytes.size()));
  std::string text = "\"";
  for (std::size_t at = 0; at < shown.size(); ++at) {
    AppendEscaped(text, shown, at);
  }
  return text + (cut || shown.size() < bytes.size() ? "\"..." : "\"");
}

std::string PathText(Bytes bytes, bool cut) {
  const auto end = std::ranges::find(bytes, std::byte{0});
  const auto length = static_cast<std::size_t>(end - bytes.begin());
  return QuotedText(bytes.first(length), limits::kMaxPathBytes, cut && end == bytes.end());
}

std::string SecondsText(std::uint64_t seconds, std::uint64_t fraction, int digits) {
  std::uint64_t one = 1;
  for (int i = 0; i < digits; ++i) {
    one *= 10;
  }
  const auto whole = static_cast<long long>(seconds);
  const auto part = static_cast<long long>(fraction);
  // What is not a time is not made to look like one.
  return fraction < one ? Print("%lld.%0*lld", whole, digits, part)
                        : Print("%lld, %lld", whole, part);
}

std::string StructText(ArgKind kind, Bytes bytes, std::size_t limit) {
  if (bytes.size() < LeastBytes(kind)) {
    return QuotedText(bytes, limit);
  }
  switch (kind) {
    case ArgKind::kBuffer:
      return QuotedText(bytes, limit);
    case ArgKind::kOptionValue:
      return bytes.size() == 4 ? ListText(bytes, limit, ", ", IntElement())
                               : QuotedText(bytes, limit);
    case ArgKind::kSockaddr:
      return SockaddrText(bytes);
    case ArgKind::kTimespec:
    case ArgKind::kFutexTimeout:
      return TimeText(bytes, 9);
    case ArgKind::kTimeval:
      return TimeText(bytes, 6);
    case ArgKind::kItimerspec:
      return TimerText(bytes, 9);
    case ArgKind::kItimerval:
      return TimerText(bytes, 6);
    case ArgKind::kPollFds:
      return ListText(bytes, limit, ", ", PollElement());
    case ArgKind::kEpollEvents:
      return ListText(bytes, limit, ", ", EpollElement());
    case ArgKind::kSigset:
      return SigsetText(*ValueOf<std::uint64_t>(bytes));
    case ArgKind::kSigaction:
      return SigactionText(*ValueOf<KernelSigaction>(bytes));
    case ArgKind::kSiginfo:
      return WholeSiginfoText(bytes);
    case ArgKind::kStat:
      return StatText(bytes);
    case ArgKind::kStatx:
      return StatxText(bytes);
    case ArgKind::kDirents:
      return DirentsText(bytes);
    case ArgKind::kRlimit:
      return "{rlim_cur=" + LimitText(*ValueOf<std::uint64_t>(bytes)) +
             ", rlim_max=" + LimitText(*ValueOf<std::uint64_t>(bytes.subspan(8))) + "}";
    case ArgKind::kRusage:
      return RusageText(bytes);
    case ArgKind::kWaitStatus:
      return WaitStatusText(*ValueOf<std::uint32_t>(bytes));
    case ArgKind::kBits:
      return BitsText(bytes, limit);
    case ArgKind::kIntPair:
    case ArgKind::kInt32Pointer:
      return ListText(bytes, limit, ", ", IntElement());
    case ArgKind::kInt64Pointer:
      return ListText(bytes, limit, ", ", LongElement());
    default:
      return "";
  }
}

std::string SiginfoText(Bytes bytes) {
  struct Common {
    std::int32_t number, error, code, unused;
    std::int32_t first, second;  // pid and uid, timer and overrun
    std::int32_t third, fourth;  // status, value, descriptor
  };
  const auto info = ValueOf<Common>(bytes);
  if (!info) {
    return QuotedText(bytes, bytes.size());
  }
  const int signal = info->number;
  std::string text = "{si_code=" + SignalCodeText(signal, info->code);
  const bool fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE ||
                     signal == SIGILL || signal == SIGTRAP;
  if (info->code == SI_TIMER) {
    text += Print(", si_timerid=%d, si_overrun=%d", info->first, info->second);
  } else if (info->code <= 0) {
    text += Print(", si_pid=%d, si_uid=%d", info->first, info->second);
    text += info->code == SI_QUEUE
                ? ", si_value=" + HexText(*ValueOf<std::uint64_t>(bytes.subspan(24)))
                : "";
  } else if (info->code == SI_KERNEL) {  // nothing is known
  } else if (signal == SIGCHLD) {
    text += Print(", si_pid=%d, si_uid=%d, si_status=", info->first, info->second) +
            (info->code == CLD_EXITED ? std::to_string(info->third)
                                      : SignalText(static_cast<std::uint32_t>(info->third)));
  } else if (signal == SIGIO) {
    text += Print(", si_fd=%d", info->third);
  } else if (fault) {
    text += ", si_addr=" + PointerText(*ValueOf<std::uint64_t>(bytes.subspan(16)));
  }
  return text + "}";
}

}  // namespace migrate
