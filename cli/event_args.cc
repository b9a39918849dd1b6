#include "cli/event_args.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "cli/event_names.h"
#include "cli/event_structs.h"

namespace migrate {
namespace {

using Side = LoggedMemory::Side;

// One call while it is printed.
struct Call {
  const SyscallRow& row;
  const Event& event;
  std::size_t string_size;
  LoggedMemory memory;
  unsigned arg_count;  // that the row and the event have

  ArgKind kind(unsigned i) const { return row.args[i].kind; }
  std::uint64_t arg(unsigned i) const { return i < arg_count ? event.args[i] : 0; }
};

std::span<const capture_output> OutputsOf(const SyscallRow& row) {
  return std::span(row.outputs).first(row.output_count);
}

bool IsCommandOutput(const capture_output& output) {
  return output.kind >= OUT_IOCTL && output.kind <= OUT_IPC;
}

bool LeadsTo(const capture_output& output, unsigned i) {
  return output.arg == i || (output.kind == OUT_CLONE && (i == 2 || i == 3));
}

// Whether the table says that bytes behind argument `i` are logged. Another pointer may well be
// equal to one of those: the bytes there are not what it was passed for.
bool IsLogged(const SyscallRow& row, unsigned i) {
  return std::ranges::any_of(OutputsOf(row),
                             [i](const auto& output) { return LeadsTo(output, i); });
}

struct LoggedBytes {
  Bytes bytes;
  bool cut = false;  // there were more
};

LoggedBytes BytesBehind(const Call& call, unsigned i) {
  for (const capture_output& output : OutputsOf(call.row)) {
    const bool input = output.kind == OUT_PATH || output.kind == OUT_BYTES_IN;
    const Side side = input ? Side::kRead : Side::kWritten;
    const EventSpan* span =
        LeadsTo(output, i) && call.arg(i) != 0 ? call.memory.Find(call.arg(i), side) : nullptr;
    if (span != nullptr) {
      return {call.memory.From(call.arg(i), side), (span->flags & EVENT_SPAN_TRUNCATED) != 0};
    }
  }
  return {};
}

// A buffer that the kernel has filled with as much as nothing: as strace, which shows "".
bool IsEmptyOutput(const Call& call, unsigned i) {
  return call.event.result == 0 && call.arg(i) != 0 &&
         std::ranges::any_of(OutputsOf(call.row), [i](const capture_output& output) {
           return output.arg == i &&
                  (output.kind == OUT_RESULT || output.kind == OUT_RESULT_CAPPED);
         });
}

// The one whose class the event has: as the row says, or the only one that it can be.
bool HasTheClass(const Call& call, unsigned i) {
  if (call.row.fd_arg >= 0) {
    return call.row.fd_arg == static_cast<int>(i);
  }
  return std::ranges::find(call.row.args, ArgKind::kFd, &Argument::kind) == &call.row.args[i];
}

// Which class the table had no reason to log, though the call says it.
bool IsEpoll(const Call& call, unsigned i) {
  return call.event.result >= 0 && i + 1 < call.arg_count &&
         (call.kind(i + 1) == ArgKind::kEpollEvents ||
          call.kind(i + 1) == ArgKind::kEpollOperation);
}

std::string FdText(const Call& call, unsigned i) {
  std::string text = std::to_string(static_cast<std::int32_t>(call.arg(i)));
  if (call.event.file != FD_NONE && HasTheClass(call, i)) {
    text += "<" + std::string(Name(call.event.file)) + ">";
  } else if (IsEpoll(call, i)) {
    text += "<" + std::string(Name(FD_EPOLL)) + ">";
  }
  return text;
}

std::string StringText(const Call& call, unsigned i) {
  const auto [bytes, cut] = BytesBehind(call, i);
  if (bytes.empty()) {
    return IsEmptyOutput(call, i) ? "\"\"" : PointerText(call.arg(i));
  }
  return call.kind(i) == ArgKind::kPath ? PathText(bytes, cut)
                                        : QuotedText(bytes, call.string_size, cut);
}

std::optional<std::uint64_t> NeighbourOf(const Call& call, ArgKind kind) {
  for (unsigned i = 0; i < call.arg_count; ++i) {
    if (call.kind(i) == kind) {
      return call.arg(i);
    }
  }
  return std::nullopt;
}

bool IsCommandKind(ArgKind kind) {
  return kind == ArgKind::kFcntlCommand || kind == ArgKind::kPrctlCommand ||
         kind == ArgKind::kFutexOperation;
}

// Argument `i` if it is the first behind a command.
std::optional<CommandText> CommandBefore(const Call& call, unsigned i) {
  if (i == 0 || !IsCommandKind(call.kind(i - 1))) {
    return std::nullopt;
  }
  return CommandTextOf(call.kind(i - 1), static_cast<std::uint32_t>(call.arg(i - 1)));
}

// The command of a System V call or of arch_prctl has no kind of its own, but an output names it.
std::optional<std::string> CommandName(const Call& call, unsigned i) {
  constexpr std::uint32_t kIpc64 = 0x100;
  for (const capture_output& output : OutputsOf(call.row)) {
    if (!IsCommandOutput(output) || output.len_arg != i) {
      continue;
    }
    auto command = static_cast<std::uint32_t>(call.arg(i));
    command &= output.kind == OUT_IPC ? ~kIpc64 : ~0u;
    if (const CommandSize* known = FindCommand({output.kind, command | output.size})) {
      return std::string(known->name);
    }
  }
  return std::nullopt;
}

// A number, an address, or what a command has written.
std::string HexArgument(const Call& call, unsigned i) {
  if (const auto command = CommandBefore(call, i)) {
    if (auto text = NamedText(command->argument, call.arg(i))) {
      return *text;
    }
    if (command->argument == ArgKind::kInt) {
      return std::to_string(static_cast<std::int32_t>(call.arg(i)));
    }
    if (command->argument == ArgKind::kSize) {
      return std::to_string(call.arg(i));
    }
    if (command->argument == ArgKind::kPointer) {
      return PointerText(call.arg(i));
    }
  }
  if (const Bytes bytes = BytesBehind(call, i).bytes; !bytes.empty()) {
    return StructText(ArgKind::kOptionValue, bytes, call.string_size);
  }
  return CommandName(call, i).value_or(HexText(call.arg(i)));
}

// A pointer to a time, which is not logged, or the second value of those that wake.
std::string FutexTimeoutText(const Call& call, unsigned i) {
  const auto command = i == 0 ? std::nullopt : CommandBefore(call, i - 1);
  return command && command->second == ArgKind::kUnsigned
             ? std::to_string(static_cast<std::uint32_t>(call.arg(i)))
             : PointerText(call.arg(i));
}

std::string PointerArgument(const Call& call, unsigned i) {
  const std::uint64_t address = call.arg(i);
  if (!IsLogged(call.row, i) || address == 0) {
    return PointerText(address);
  }
  const std::span<const EventSpan> spans = call.event.spans;
  switch (call.kind(i)) {
    case ArgKind::kIovec:
      return call.event.result > 0 ? IovecText(spans, call.string_size) : PointerText(address);
    case ArgKind::kMsghdr:
      return MsghdrText(spans, address, call.string_size);
    case ArgKind::kMmsghdr:
      return call.event.result > 0
                 ? MmsghdrText(spans, address, static_cast<std::uint64_t>(call.event.result),
                               call.string_size)
                 : PointerText(address);
    default:
      break;
  }
  const Bytes bytes = BytesBehind(call, i).bytes;
  if (!bytes.empty()) {
    const std::string text = StructText(call.kind(i), bytes, call.string_size);
    return text.empty() ? PointerText(address) : text;
  }
  return IsEmptyOutput(call, i) && call.kind(i) == ArgKind::kEpollEvents ? "[]"
                                                                         : PointerText(address);
}

std::string TextOf(const Call& call, unsigned i) {
  const std::uint64_t value = call.arg(i);
  if (auto text = NamedText(call.kind(i), value)) {
    return *text;
  }
  switch (call.kind(i)) {
    case ArgKind::kInt:
      return CommandName(call, i).value_or(std::to_string(static_cast<std::int32_t>(value)));
    case ArgKind::kLong:
      return std::to_string(static_cast<std::int64_t>(value));
    case ArgKind::kUnsigned:
      return std::to_string(static_cast<std::uint32_t>(value));
    case ArgKind::kSize:
      return std::to_string(value);
    case ArgKind::kNone:
    case ArgKind::kHex:
      return HexArgument(call, i);
    case ArgKind::kFlags:
      return HexText(value);
    case ArgKind::kOctal:
      return OctalText(value);
    case ArgKind::kFd:
      return FdText(call, i);
    case ArgKind::kDirFd:
      return static_cast<std::int32_t>(value) == AT_FDCWD ? "AT_FDCWD" : FdText(call, i);
    case ArgKind::kAtFlags:
      return AtFlagsText(value, NeighbourOf(call, ArgKind::kAccessMode).has_value());
    case ArgKind::kSocketOption:
      return SocketOptionText(NeighbourOf(call, ArgKind::kSocketLevel).value_or(0), value);
    case ArgKind::kPath:
    case ArgKind::kBuffer:
      return StringText(call, i);
    case ArgKind::kFutexTimeout:
      return FutexTimeoutText(call, i);
    default:
      return PointerArgument(call, i);
  }
}

// How many arguments, and which of them, a bit each.
unsigned ShownArguments(const Call& call) {
  unsigned shown = (1u << call.arg_count) - 1;
  for (unsigned i = 0; i < call.arg_count; ++i) {
    if (IsCommandKind(call.kind(i))) {
      const CommandText text = CommandTextOf(call.kind(i), static_cast<std::uint32_t>(call.arg(i)));
      shown &= unsigned{text.shown} << (i + 1) | ((1u << (i + 1)) - 1);
    }
    const bool mode_of_open =
        call.kind(i) == ArgKind::kOctal && i > 0 && call.kind(i - 1) == ArgKind::kOpenFlags;
    if (mode_of_open && (call.arg(i - 1) & O_CREAT) == 0 &&
        (call.arg(i - 1) & O_TMPFILE) != O_TMPFILE) {
      shown &= (1u << i) - 1;
    }
  }
  return shown;
}

// The kernel's own codes for a call that a signal has ended and that may be made again.
std::string RestartText(std::int64_t result) {
  switch (result) {
    case -512:
      return "? ERESTARTSYS (To be restarted if SA_RESTART is set)";
    case -513:
      return "? ERESTARTNOINTR (To be restarted)";
    case -514:
      return "? ERESTARTNOHAND (To be restarted if no handler)";
    case -516:
      return "? ERESTART_RESTARTBLOCK (Interrupted by signal)";
    default:
      return "? " + std::to_string(result);
  }
}

}  // namespace

std::vector<ArgumentText> ArgumentTexts(const SyscallRow& row, const Event& event,
                                        std::size_t string_size) {
  const Call call{row, event, string_size, LoggedMemory(event.spans),
                  std::min<unsigned>(row.arg_count, event.arg_count)};
  const unsigned shown = ShownArguments(call);
  std::vector<ArgumentText> texts;
  for (unsigned i = 0; i < call.arg_count; ++i) {
    if ((shown >> i & 1) != 0) {
      texts.push_back({row.args[i].name, TextOf(call, i)});
    }
  }
  return texts;
}

std::string ResultText(const SyscallRow* row, const Event& event) {
  constexpr std::int64_t kMaxErrno = 4095;
  const std::int64_t result = event.result;
  if ((event.flags & EVENT_FLAG_INTERRUPTED) != 0) {
    return RestartText(result);
  }
  if (row != nullptr && row->irregular == Irregular::kExit) {
    return "?";
  }
  if (result < 0 && result >= -kMaxErrno) {
    return "-1 " + ErrorText(static_cast<int>(-result));
  }
  if (row == nullptr) {
    return std::to_string(result);
  }
  const auto value = static_cast<std::uint64_t>(result);
  switch (row->result) {
    case ArgKind::kPointer:
      return HexText(value);
    case ArgKind::kOctal:
      return OctalText(value);
    default:
      break;
  }
  if (row->arg_count > 1 && event.arg_count > 1 && IsCommandKind(row->args[1].kind)) {
    const CommandText command =
        CommandTextOf(row->args[1].kind, static_cast<std::uint32_t>(event.args[1]));
    if (const auto text = NamedText(command.result, value); text && result != 0) {
      return HexText(value) + " (flags " + *text + ")";
    }
  }
  return std::to_string(result);
}

}  // namespace migrate
