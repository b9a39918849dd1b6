#include "proto/syscall_table.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "proto/syscall_row.h"

namespace migrate {
namespace {

struct Index {
  std::vector<SyscallRow> rows;
  std::array<const SyscallRow*, CAPTURE_MAX_SYSCALLS> by_number{};
  std::vector<const SyscallRow*> by_name;
};

Index MakeIndex() {
  Index index;
  for (const auto family : {rows::FileRows(), rows::IoRows(), rows::MemoryRows(),
                            rows::ProcessRows(), rows::SystemRows()}) {
    index.rows.insert(index.rows.end(), family.begin(), family.end());
  }
  std::ranges::sort(index.rows, {}, &SyscallRow::number);
  for (const SyscallRow& row : index.rows) {
    CHECK(row.number < CAPTURE_MAX_SYSCALLS);
    CHECK(index.by_number[row.number] == nullptr);
    index.by_number[row.number] = &row;
    index.by_name.push_back(&row);
  }
  std::ranges::sort(index.by_name, {}, [](const SyscallRow* row) { return row->name; });
  return index;
}

const Index& TheIndex() {
  static const Index index = MakeIndex();
  return index;
}

// Bytes that come out of it are made by the replica itself.
bool HasOwnCopy(fd_class file) {
  return file == FD_REPLICATED || file == FD_MEMORY || file == FD_NULL || file == FD_PIPE ||
         file == FD_UNIX;
}

bool CannotBeReplayed(fd_class file) { return file == FD_DEVICE || file == FD_OTHER; }

Policy ReadPolicy(fd_class file) {
  if (CannotBeReplayed(file)) {
    return Policy::kRefuse;
  }
  // An eventfd's counter has to be taken, or its epoll sets would go on firing.
  return HasOwnCopy(file) || file == FD_EVENTFD ? Policy::kExecute : Policy::kInject;
}

Policy WritePolicy(fd_class file) {
  if (CannotBeReplayed(file)) {
    return Policy::kRefuse;
  }
  switch (file) {
    case FD_REPLICATED:
    case FD_MEMORY:
    case FD_PIPE:
    case FD_UNIX:
    case FD_EVENTFD:
    case FD_FOREIGN:  // /proc/self/oom_score_adj: state of the process
      return Policy::kExecute;
    case FD_BAD:
      return Policy::kInject;
    default:
      return Policy::kSuppress;
  }
}

Policy PositionPolicy(fd_class file) {
  if (CannotBeReplayed(file)) {
    return Policy::kRefuse;
  }
  return file == FD_REPLICATED || file == FD_MEMORY ? Policy::kExecute : Policy::kInject;
}

Policy ControlPolicy(fd_class file) {
  if (CannotBeReplayed(file)) {
    return Policy::kRefuse;
  }
  return file == FD_BAD ? Policy::kInject : Policy::kExecute;
}

Policy MapPolicy(fd_class file) {
  const bool ours = file == FD_NONE || file == FD_BAD || file == FD_REPLICATED ||
                    file == FD_MEMORY || file == FD_NULL;
  return ours ? Policy::kExecute : Policy::kRefuse;
}

Policy SocketPolicy(fd_class file) {
  switch (file) {
    case FD_UNIX:
      return Policy::kExecute;
    case FD_SOCKET:
    case FD_UNIX_OUTSIDE:
      return Policy::kPlaceholder;
    default:  // not a socket: an error
      return Policy::kInject;
  }
}

Policy SplicePolicy(fd_class file) {
  if (HasOwnCopy(file)) {
    return Policy::kExecute;
  }
  return file == FD_BAD ? Policy::kInject : Policy::kRefuse;
}

uint32_t ClassesWhere(const SyscallRow& row, Policy policy) {
  uint32_t classes = 0;
  for (uint32_t file = 0; file < FD_CLASS_COUNT; ++file) {
    if (PolicyFor(row, static_cast<fd_class>(file)) == policy) {
      classes |= 1u << file;
    }
  }
  return classes;
}

uint32_t OwnCopyClasses(const SyscallRow& row) {
  uint32_t classes = 0;
  for (uint32_t file = 0; file < FD_CLASS_COUNT; ++file) {
    if (row.file_rule == FileRule::kRead && HasOwnCopy(static_cast<fd_class>(file))) {
      classes |= 1u << file;
    }
  }
  return classes;
}

capture_row CaptureRowOf(const SyscallRow& row) {
  capture_row out{};
  out.flags = ROW_KNOWN;
  if (row.policy == Policy::kRefuse) {
    out.flags |= ROW_REFUSE;
  }
  if (row.changes_scheduling) {
    out.flags |= ROW_SCHEDULING;
  }
  if (row.never_returns) {
    out.flags |= ROW_NEVER_RETURNS;
  }
  if (row.file_rule == FileRule::kMap) {
    out.flags |= ROW_MAPS;
  }
  out.arg_count = row.arg_count;
  out.fd_arg = row.fd_arg < 0 ? 255 : static_cast<ev_u8>(row.fd_arg);
  out.output_count = row.output_count;
  out.own_copy_classes = OwnCopyClasses(row);
  if (row.file_rule != FileRule::kFixed) {
    out.refuse_classes = ClassesWhere(row, Policy::kRefuse);
  }
  if (row.refuse_arg >= 0) {
    out.refuse_arg = static_cast<ev_u8>(row.refuse_arg);
    out.refuse_bits = row.refuse_bits;
  }
  std::ranges::copy(row.outputs, out.outputs);
  return out;
}

}  // namespace

std::string_view Name(Policy policy) {
  switch (policy) {
    case Policy::kInject:
      return "inject";
    case Policy::kExecute:
      return "execute";
    case Policy::kPlaceholder:
      return "placeholder";
    case Policy::kSuppress:
      return "suppress";
    case Policy::kRefuse:
      return "refuse";
  }
  return "";
}

std::string_view Name(fd_class file) {
  static constexpr std::array<std::string_view, FD_CLASS_COUNT> kNames = {
      "none",         "bad",     "file",         "foreign",  "socket", "unix",
      "unix-outside", "pipe",    "pipe-outside", "tty",      "null",   "random",
      "device",       "eventfd", "timerfd",      "signalfd", "epoll",  "inotify",
      "memory",       "pidfd",   "mqueue",       "other"};
  return file < FD_CLASS_COUNT ? kNames[file] : "?";
}

std::span<const SyscallRow> SyscallTable() { return TheIndex().rows; }

const SyscallRow* FindSyscall(int number) {
  return number < 0 || number >= CAPTURE_MAX_SYSCALLS
             ? nullptr
             : TheIndex().by_number[static_cast<size_t>(number)];
}

const SyscallRow* FindSyscall(std::string_view name) {
  const auto& rows = TheIndex().by_name;
  const auto found =
      std::ranges::lower_bound(rows, name, {}, [](const SyscallRow* row) { return row->name; });
  return found != rows.end() && (*found)->name == name ? *found : nullptr;
}

Policy PolicyFor(const SyscallRow& row, fd_class file) {
  if (row.policy == Policy::kRefuse) {
    return Policy::kRefuse;
  }
  switch (row.file_rule) {
    case FileRule::kFixed:
      return row.policy;
    case FileRule::kRead:
      return ReadPolicy(file);
    case FileRule::kWrite:
      return WritePolicy(file);
    case FileRule::kPosition:
      return PositionPolicy(file);
    case FileRule::kStatus:
      return Policy::kInject;
    case FileRule::kControl:
      return ControlPolicy(file);
    case FileRule::kMap:
      return MapPolicy(file);
    case FileRule::kSocket:
      return SocketPolicy(file);
    case FileRule::kSplice:
      return SplicePolicy(file);
  }
  return Policy::kRefuse;
}

Policy PolicyFor(const SyscallRow& row, fd_class file, std::span<const uint64_t> args) {
  const auto arg = [&](int8_t i) {
    return i >= 0 && size_t(i) < args.size() ? args[size_t(i)] : 0;
  };
  if (row.file_rule == FileRule::kMap && (arg(3) & CAPTURE_MAP_ANONYMOUS)) {
    file = FD_NONE;
  }
  if (arg(row.refuse_arg) & row.refuse_bits) {
    return Policy::kRefuse;
  }
  const Policy policy = PolicyFor(row, file);
  for (const capture_output& output : std::span(row.outputs).first(row.output_count)) {
    auto command = static_cast<uint32_t>(arg(static_cast<int8_t>(output.len_arg)));
    if (output.kind == OUT_SOCKOPT) {
      command = static_cast<uint32_t>(arg(1) << 16) | (command & 0xffff);
    } else if (output.kind < OUT_IOCTL || output.kind > OUT_IPC) {
      continue;
    }
    const CommandSize* found = FindCommand({output.kind, command | output.size});
    if (found != nullptr && (policy == Policy::kExecute || found->policy == Policy::kRefuse)) {
      return found->policy;
    }
  }
  return policy;
}

std::array<capture_row, CAPTURE_MAX_SYSCALLS> CaptureRows() {
  std::array<capture_row, CAPTURE_MAX_SYSCALLS> rows{};
  for (const SyscallRow& row : SyscallTable()) {
    rows[row.number] = CaptureRowOf(row);
  }
  return rows;
}

}  // namespace migrate
