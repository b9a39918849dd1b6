#include "cli/event_text.h"

#include <algorithm>
#include <array>

#include "cli/event_args.h"
#include "cli/event_names.h"
#include "cli/event_structs.h"
#include "proto/clock_events.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

constexpr std::size_t kReadingsShown = 3;

std::string SyscallText(const Event& event, std::size_t string_size) {
  const SyscallRow* row = FindSyscall(event.number);
  std::string text = SyscallName(event.number) + "(";
  if (row == nullptr) {
    for (unsigned i = 0; i < event.arg_count; ++i) {
      text += (i == 0 ? "" : ", ") + HexText(event.args[i]);
    }
  } else if (row->irregular == Irregular::kRestart) {
    text += "<... the interrupted call goes on ...>";
  } else {
    std::string_view separator;
    for (const ArgumentText& argument : ArgumentTexts(*row, event, string_size)) {
      text += separator;
      text += argument.text;
      separator = ", ";
    }
  }
  text += ") = " + ResultText(row, event);
  return text + ((event.flags & EVENT_FLAG_RESTARTED) != 0 ? " /* called before T0 */" : "");
}

std::string BirthText(const Event& event) {
  const auto tid = static_cast<std::uint32_t>(event.args[0]);
  const auto tgid = static_cast<std::uint32_t>(event.args[1]);
  std::string text = "+++ task " + std::to_string(tid) +
                     " born: " + (tid == tgid ? "process" : "thread of " + std::to_string(tgid));
  if (event.args[2] != 0) {
    text += " (" + *NamedText(ArgKind::kCloneFlags, event.args[2]) + ")";
  }
  return text + " +++";
}

// As wait() tells it.
std::string ExitText(const Event& event) {
  const auto status = static_cast<std::uint64_t>(event.result);
  if ((status & 0x7f) == 0) {
    return "+++ exited with " + std::to_string(status >> 8 & 0xff) + " +++";
  }
  return "+++ killed by " + SignalText(status & 0x7f) +
         ((status & 0x80) != 0 ? " (core dumped) +++" : " +++");
}

std::string ExecText(const Event& event) {
  std::string text = "exec ";
  text += event.spans.empty() ? "?" : PathText(event.spans[0].bytes, false);
  if (event.arg_count > 0 && event.args[0] != event.tid) {
    text += " (was task " + std::to_string(static_cast<std::uint32_t>(event.args[0])) + ")";
  }
  return text;
}

std::string DeliveryText(const Event& event) {
  std::string text = "--- " + SignalText(event.number) + " ";
  text += event.spans.empty() ? "{}" : SiginfoText(event.spans[0].bytes);
  text += " at " + HexText(event.args[0]) +
          (event.args[1] != 0 ? " (in a computation)" : " (at a syscall)");
  if (event.args[2] <= 1) {
    return text + (event.args[2] == 0 ? " SIG_DFL ---" : " SIG_IGN ---");
  }
  return text + " handler " + HexText(event.args[2]) + " ---";
}

// Of a task that lost the CPU: the bits of /proc, and that of the freezer.
std::string TaskStateText(std::uint64_t state) {
  switch (state) {
    case 0:
      return "R";
    case 1:
      return "S";
    case 2:
      return "D";
    case 4:
      return "T";
    case 8:
      return "t";
    case 0x8000:
      return "frozen";
    default:
      return HexText(state);
  }
}

std::string SwitchText(const Event& event) {
  const auto next = static_cast<std::uint32_t>(event.args[1]);
  return "switch to " + (next == 0 ? "nobody" : std::to_string(next)) + " (state " +
         TaskStateText(event.args[0]) + ")" +
         (event.args[2] != 0 ? " at " + HexText(event.args[2]) : "");
}

std::string ReadingText(const ClockReading& reading) {
  const auto error = static_cast<std::int32_t>(reading.result);
  switch (reading.function) {
    case CLOCK_GETTIME: {
      const std::string clock = *NamedText(ArgKind::kClock, reading.clock);
      return clock + " " +
             (error == 0 ? SecondsText(reading.value[0], reading.value[1], 9)
                         : std::to_string(error));
    }
    case CLOCK_GETTIMEOFDAY:
      return "gettimeofday " + (error == 0 ? SecondsText(reading.value[0], reading.value[1], 6)
                                           : std::to_string(error));
    default:
      return "time " + std::to_string(static_cast<std::int64_t>(reading.result));
  }
}

std::string ClocksText(const Event& event) {
  const auto readings = ReadingsOf(event);
  if (!readings) {
    return "clocks: corrupt: " + readings.error().message;
  }
  std::string text = "clocks: " + std::to_string(readings->size()) +
                     (readings->size() == 1 ? " reading" : " readings");
  if (readings->empty()) {
    return text;
  }
  for (std::size_t i = 0; i < std::min(readings->size(), kReadingsShown); ++i) {
    text += (i == 0 ? " (" : ", ") + ReadingText((*readings)[i]);
  }
  return text + (readings->size() > kReadingsShown ? ", ...)" : ")");
}

std::string NumberName(std::uint64_t number) {
  return number <= UINT16_MAX ? SyscallName(static_cast<std::uint16_t>(number))
                              : "syscall_" + std::to_string(number);
}

std::string ProblemDetails(const Event& event) {
  const std::uint64_t first = event.args[0];
  const std::uint64_t second = event.args[1];
  switch (event.number) {
    case PROBLEM_RING_FULL:
      return "ring full, lost " + std::to_string(first) + " events";
    case PROBLEM_REFUSED_SYSCALL:
      return "refused syscall " + NumberName(first);
    case PROBLEM_UNKNOWN_SYSCALL:
      return "unknown syscall " + std::to_string(first);
    case PROBLEM_FOREIGN_TASK:
      return "foreign task";
    case PROBLEM_SCHEDULING:
      return "scheduling changed by " + NumberName(first);
    case PROBLEM_TOO_LARGE:
      return "too large: " + NumberName(first) + ", " + std::to_string(second) + " bytes";
    case PROBLEM_UNREADABLE:
      return "unreadable: " + NumberName(first) + " at " + PointerText(second);
    case PROBLEM_COMPAT_SYSCALL:
      return "32-bit syscall " + std::to_string(first);
    case PROBLEM_SIGNAL_IN_COMPUTATION:
      return "signal in a computation: " + SignalText(first);
    case PROBLEM_REFUSED_FILE:
      return "refused file: " + NumberName(first) + " on <" +
             std::string(
                 Name(second < FD_CLASS_COUNT ? static_cast<fd_class>(second) : FD_CLASS_COUNT)) +
             ">";
    case PROBLEM_STARVED:
      return "starved others";
    case PROBLEM_CLOCKS:
      return "lost clock readings: " + std::to_string(first);
    case PROBLEM_UNPATCHED:
      return "unpatched program";
    default:
      return "problem " + std::to_string(event.number) + " " + HexText(first) + " " +
             HexText(second);
  }
}

std::string MarkText(const Event& event) {
  switch (event.number) {
    case MARK_START:
      return "mark start";
    case MARK_END:
      return "mark end";
    case MARK_CLOCKS:
      return "mark clocks ring=" + HexText(event.args[0]) + " vdso=" + HexText(event.args[1]);
    default:
      return "mark " + std::to_string(event.number);
  }
}

}  // namespace

std::string_view EventKindName(event_kind kind) {
  static constexpr std::array<std::string_view, EVENT_KIND_COUNT> kNames = {
      "unknown", "syscall", "data",   "task_new", "task_exit", "exec",
      "signal",  "switch",  "clocks", "tsc",      "problem",   "mark"};
  return kind < EVENT_KIND_COUNT ? kNames[kind] : kNames[EVENT_INVALID];
}

std::string SyscallName(std::uint16_t number) {
  const SyscallRow* row = FindSyscall(number);
  return row == nullptr ? "syscall_" + std::to_string(number) : std::string(row->name);
}

std::string EventText(const Event& event, std::size_t string_size) {
  switch (event.kind) {
    case EVENT_SYSCALL:
      return SyscallText(event, string_size);
    case EVENT_TASK_NEW:
      return BirthText(event);
    case EVENT_TASK_EXIT:
      return ExitText(event);
    case EVENT_EXEC:
      return ExecText(event);
    case EVENT_SIGNAL:
      return DeliveryText(event);
    case EVENT_SWITCH:
      return SwitchText(event);
    case EVENT_CLOCKS:
      return ClocksText(event);
    case EVENT_TSC:
      return "tsc " + HexText(static_cast<std::uint64_t>(event.result)) + " at " +
             HexText(event.args[0]) + ", aux " + std::to_string(event.args[1]);
    case EVENT_PROBLEM:
      return "!!! the recording is incomplete from here on: " + ProblemDetails(event) + " !!!";
    case EVENT_MARK:
      return MarkText(event);
    case EVENT_INVALID:
    case EVENT_DATA:
    case EVENT_KIND_COUNT:
      break;
  }
  return std::string(EventKindName(event.kind));
}

}  // namespace migrate
