#include "proto/capture_plan.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "proto/syscall_table.h"

namespace migrate {
namespace {

static_assert(FD_CLASS_COUNT <= 32, "the masks of a row have a bit per class");

constexpr int64_t kEintr = 4;
constexpr int64_t kFirstRestart = -516;
constexpr int64_t kLastRestart = -512;
constexpr uint64_t kIpc64 = 0x100;
constexpr uint64_t kClonePidfd = 0x1000;
constexpr uint64_t kCloneParentSettid = 0x100000;
constexpr uint64_t kCloneChildSettid = 0x1000000;
constexpr uint64_t kCloneNewNamespaces = 0x7e020080;
constexpr uint64_t kMaxIovec = 1024;
constexpr uint64_t kMaxMessages = 1024;
constexpr uint32_t kMaxAddress = 128;  // sockaddr_storage
constexpr uint32_t kMaxPath = 4096;
constexpr uint64_t kPageBytes = 4096;

// As the kernel lays them out.
struct UserIovec {
  uint64_t base, length;
};
struct UserMsghdr {
  uint64_t name;
  uint32_t name_length, padding;
  uint64_t iov, iov_length, control, control_length;
  uint32_t flags, padding2;
};
struct UserMmsghdr {
  UserMsghdr header;
  uint32_t length, padding;
};
struct UserIfconf {
  uint32_t length, padding;
  uint64_t buffer;
};
struct UserCloneArgs {
  uint64_t flags, pidfd, child_tid, parent_tid;
};

bool Applies(uint8_t when, int64_t result) {
  switch (when) {
    case WHEN_SUCCESS:
      return result >= 0;
    case WHEN_POSITIVE:
      return result > 0;
    case WHEN_INTERRUPTED:
      return result == -kEintr || (result >= kFirstRestart && result <= kLastRestart);
  }
  return true;
}

bool IsCommand(uint8_t kind) { return kind >= OUT_IOCTL && kind <= OUT_IPC; }

// One call. The functions carry the names of those of capture.bpf.c, and are in the same order.
class Planner {
 public:
  Planner(const CaptureCall& call, const MemoryReader& read, const CommandLookup& commands,
          PlanOptions options)
      : call_(call), read_(read), commands_(commands), options_(options) {}

  // True for a command that ends the recording.
  bool AddOutput(const capture_output& output);
  CapturePlan Finish(const capture_row& row, fd_class file, bool refused_command);

 private:
  template <typename T>
  std::optional<T> Load(uint64_t address) const {
    T value{};
    if (!read_(address, std::as_writable_bytes(std::span(&value, 1)))) {
      return std::nullopt;
    }
    return value;
  }
  bool Readable(uint64_t address) const { return Load<uint8_t>(address).has_value(); }

  void AddSpan(uint64_t address, uint64_t length, uint16_t flags = 0);
  void AddUnlessBad(uint64_t address, uint64_t length, uint16_t flags = 0);
  void AddIovecs(uint64_t iov, uint64_t count, uint64_t left);
  void AddMsghdr(uint64_t address, uint64_t received, uint32_t size);
  void AddMmsghdrs(uint64_t vector);
  void AddFutex();
  void AddIfconf(uint64_t address);
  void AddClone();
  bool AddClone3(uint64_t address);
  uint32_t CommandSizeOf(uint32_t kind, uint32_t command) const;
  bool AddCommand(const capture_output& output);
  void AddPath(uint64_t address, uint32_t size);
  void AddBytesIn(const capture_output& output);
  uint64_t LengthOf(const capture_output& output) const;

  uint64_t positive() const { return call_.result > 0 ? static_cast<uint64_t>(call_.result) : 0; }

  const CaptureCall& call_;
  const MemoryReader& read_;
  const CommandLookup& commands_;
  const PlanOptions options_;
  CapturePlan plan_;
  uint64_t total_ = 0;
};

void Planner::AddSpan(uint64_t address, uint64_t length, uint16_t flags) {
  if (address == 0 || length == 0) {
    return;
  }
  length = std::min<uint64_t>(length, EVENT_MAX_SYSCALL_DATA + 1);  // the total tells
  if (plan_.spans.size() >= EVENT_MAX_SPANS) {
    total_ = EVENT_MAX_SYSCALL_DATA + 1;
    return;
  }
  plan_.spans.push_back({address, static_cast<uint32_t>(length), flags});
  if (total_ <= EVENT_MAX_SYSCALL_DATA) {
    total_ += length;
  }
}

// A call that failed may have done so because this is no memory: then it wrote nothing.
void Planner::AddUnlessBad(uint64_t address, uint64_t length, uint16_t flags) {
  if (call_.result < 0 && length != 0 && (!Readable(address) || !Readable(address + length - 1))) {
    return;
  }
  AddSpan(address, length, flags);
}

void Planner::AddIovecs(uint64_t iov, uint64_t count, uint64_t left) {
  count = std::min(count, kMaxIovec);
  for (uint64_t i = 0; i < count && left > 0; ++i) {
    const uint64_t address = iov + i * sizeof(UserIovec);
    const auto entry = Load<UserIovec>(address);
    if (!entry) {
      AddSpan(address, sizeof(UserIovec));  // which cannot be copied either, and so is told
      return;
    }
    const uint64_t length = std::min(entry->length, left);
    AddSpan(entry->base, length);
    left -= length;
  }
}

void Planner::AddMsghdr(uint64_t address, uint64_t received, uint32_t size) {
  AddSpan(address, size);
  const auto header = Load<UserMsghdr>(address);
  if (!header) {
    return;
  }
  AddSpan(header->name, std::min(header->name_length, kMaxAddress));
  AddSpan(header->control, header->control_length);
  AddIovecs(header->iov, header->iov_length, received);
}

void Planner::AddMmsghdrs(uint64_t vector) {
  const uint64_t count = std::min(positive(), kMaxMessages);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t address = vector + i * sizeof(UserMmsghdr);
    const UserMmsghdr message = Load<UserMmsghdr>(address).value_or(UserMmsghdr{});
    AddMsghdr(address, message.length, sizeof(message));
  }
}

void Planner::AddFutex() {
  const uint64_t word = call_.args[0];
  const uint64_t second = call_.args[4];
  switch (call_.args[1] & 127) {
    case 5:  // WAKE_OP
      AddUnlessBad(second, 4);
      break;
    case 6:   // LOCK_PI
    case 7:   // UNLOCK_PI
    case 8:   // TRYLOCK_PI
    case 13:  // LOCK_PI2
      AddUnlessBad(word, 4);
      break;
    case 11:  // WAIT_REQUEUE_PI
    case 12:  // CMP_REQUEUE_PI
      AddUnlessBad(word, 4);
      AddUnlessBad(second, 4);
      break;
    default:
      break;
  }
}

void Planner::AddIfconf(uint64_t address) {
  AddSpan(address, sizeof(UserIfconf));
  if (const auto list = Load<UserIfconf>(address)) {
    AddSpan(list->buffer, list->length);
  }
}

// The child's word is written in the child's memory. Elsewhere the page may not exist.
void Planner::AddClone() {
  const bool child = call_.result == 0;
  if (!child && (call_.args[0] & (kClonePidfd | kCloneParentSettid)) != 0) {
    AddUnlessBad(call_.args[2], 4);
  }
  if (child && (call_.args[0] & kCloneChildSettid) != 0) {
    AddUnlessBad(call_.args[3], 4);
  }
}

bool Planner::AddClone3(uint64_t address) {
  const auto clone = Load<UserCloneArgs>(address);
  if (!clone) {
    AddUnlessBad(address, sizeof(UserCloneArgs));
    return false;
  }
  if ((clone->flags & kCloneNewNamespaces) != 0) {
    return true;
  }
  const bool child = call_.result == 0;
  if (!child && (clone->flags & kClonePidfd) != 0) {
    AddUnlessBad(clone->pidfd, 4);
  }
  if (!child && (clone->flags & kCloneParentSettid) != 0) {
    AddUnlessBad(clone->parent_tid, 4);
  }
  if (child && (clone->flags & kCloneChildSettid) != 0) {
    AddUnlessBad(clone->child_tid, 4);
  }
  return false;
}

uint32_t Planner::CommandSizeOf(uint32_t kind, uint32_t command) const {
  if (const uint32_t* size = commands_({kind, command})) {
    return *size;
  }
  const bool reads = ((command >> 30) & 2) != 0;  // _IOC_READ
  return kind == OUT_IOCTL && reads ? (command >> 16) & 0x3fff : 0;
}

bool Planner::AddCommand(const capture_output& output) {
  auto command = static_cast<uint32_t>(call_.args[output.len_arg]);
  if (output.kind == OUT_IPC) {
    command &= ~kIpc64;
  } else if (output.kind == OUT_SOCKOPT) {
    command = static_cast<uint32_t>(call_.args[1] << 16) | (command & 0xffff);
  }
  const uint64_t address = call_.args[output.arg];
  const uint32_t size = CommandSizeOf(output.kind, command | output.size);
  if (size == COMMAND_REFUSE) {
    return true;
  }
  if (size == COMMAND_IFCONF) {
    AddIfconf(address);
  } else {
    AddUnlessBad(address, size == COMMAND_RESULT ? std::min(positive(), call_.args[2]) : size);
  }
  return false;
}

// Its length with its zero; a page at a time, as far as there is memory.
void Planner::AddPath(uint64_t address, uint32_t size) {
  std::array<char, kMaxPath> text;
  const size_t most = std::min(size, kMaxPath);
  size_t length = 0;
  while (length < most) {
    const size_t in_page = kPageBytes - (address + length) % kPageBytes;
    const auto part = std::span(text).subspan(length, std::min(most - length, in_page));
    if (!read_(address + length, std::as_writable_bytes(part))) {
      return;
    }
    if (const void* zero = std::memchr(part.data(), 0, part.size())) {
      length = static_cast<size_t>(static_cast<const char*>(zero) - text.data()) + 1;
      break;
    }
    length += part.size();
  }
  const uint16_t cut = length >= size ? EVENT_SPAN_TRUNCATED : 0;
  AddUnlessBad(address, length, EVENT_SPAN_INPUT | cut);
}

void Planner::AddBytesIn(const capture_output& output) {
  if (!options_.input_bytes && output.when != WHEN_ALWAYS) {
    return;
  }
  const uint64_t length = call_.args[output.len_arg];
  const uint16_t cut = length > output.size ? EVENT_SPAN_TRUNCATED : 0;
  AddUnlessBad(call_.args[output.arg], std::min<uint64_t>(length, output.size),
               EVENT_SPAN_INPUT | cut);
}

// The kinds that are one span, as long as arguments and result say.
uint64_t Planner::LengthOf(const capture_output& output) const {
  const uint64_t other = call_.args[output.len_arg];
  const uint64_t size = output.size;
  switch (output.kind) {
    case OUT_FIXED:
      return size;
    case OUT_RESULT:
      return positive() * size;
    case OUT_RESULT_CAPPED:
      return std::min(positive(), other) * size;
    case OUT_ARG:
      return other * size;
    case OUT_POINTEE32:
      return std::min<uint64_t>(Load<uint32_t>(other).value_or(0), size);
    case OUT_POINTEE64:
      return std::min(Load<uint64_t>(other).value_or(0), size);
    case OUT_FD_SET:
      return ((other + 63) / 64) * 8;
    case OUT_PAGES:
      return (other + kPageBytes - 1) / kPageBytes;
    case OUT_RESULT_PLUS:
      return positive() + size;
    default:
      return 0;
  }
}

bool Planner::AddOutput(const capture_output& output) {
  if (!Applies(output.when, call_.result) || output.arg >= EVENT_MAX_ARGS ||
      output.len_arg >= EVENT_MAX_ARGS) {
    return false;
  }
  const uint64_t address = call_.args[output.arg];
  if (IsCommand(output.kind)) {
    return AddCommand(output);  // looked at whatever its argument is
  }
  if (address == 0) {
    return false;
  }
  switch (output.kind) {
    case OUT_IOVEC:
      AddIovecs(address, call_.args[output.len_arg], positive());
      return false;
    case OUT_MSGHDR:
      AddMsghdr(address, positive(), sizeof(UserMsghdr));
      return false;
    case OUT_MMSGHDR:
      AddMmsghdrs(address);
      return false;
    case OUT_CLONE:
      AddClone();
      return false;
    case OUT_CLONE3:
      return AddClone3(address);
    case OUT_FUTEX:
      AddFutex();
      return false;
    case OUT_PATH:
      AddPath(address, output.size);
      return false;
    case OUT_BYTES_IN:
      AddBytesIn(output);
      return false;
    case OUT_SOCKOPT:
      return AddCommand(output);
    default:
      AddUnlessBad(address, LengthOf(output));
      return false;
  }
}

CapturePlan Planner::Finish(const capture_row& row, fd_class file, bool refused_command) {
  const auto end_with = [this](event_problem problem, uint64_t detail) {
    plan_.problem = problem;
    plan_.detail = detail;
  };
  if (total_ > EVENT_MAX_SYSCALL_DATA) {
    plan_.spans.clear();
    end_with(PROBLEM_TOO_LARGE, total_);
    return std::move(plan_);
  }
  // Whole, as the copy will find it: the first page that is missing.
  std::array<std::byte, kPageBytes> page;
  for (const PlannedSpan& span : plan_.spans) {
    for (uint64_t done = 0; done < span.length;) {
      const uint64_t in_page = kPageBytes - (span.address + done) % kPageBytes;
      const uint64_t length = std::min(span.length - done, in_page);
      if (!read_(span.address + done, std::span(page).first(length))) {
        const bool in_pieces = total_ > EVENT_MAX_DATA;
        end_with(PROBLEM_UNREADABLE,
                 span.address + (in_pieces ? done / EVENT_MAX_DATA * EVENT_MAX_DATA : 0));
        plan_.spans.clear();
        return std::move(plan_);
      }
      done += length;
    }
  }
  if (call_.result < 0) {
    return std::move(plan_);
  }
  const bool refused_bits =
      row.refuse_arg < EVENT_MAX_ARGS && (call_.args[row.refuse_arg] & row.refuse_bits) != 0;
  if ((row.flags & ROW_REFUSE) != 0 || refused_command || refused_bits) {
    end_with(PROBLEM_REFUSED_SYSCALL, 0);
  } else if ((row.flags & ROW_SCHEDULING) != 0) {
    end_with(PROBLEM_SCHEDULING, 0);
  } else if ((row.refuse_classes & (1u << file)) != 0) {
    end_with(PROBLEM_REFUSED_FILE, file);
  }
  return std::move(plan_);
}

}  // namespace

uint64_t CapturePlan::Bytes() const {
  uint64_t bytes = 0;
  for (const PlannedSpan& span : spans) {
    bytes += span.length;
  }
  return bytes;
}

CapturePlan PlanCapture(const capture_row& row, const CaptureCall& call, const MemoryReader& read,
                        const CommandLookup& commands, PlanOptions options) {
  if (call.number >= CAPTURE_MAX_SYSCALLS || (row.flags & ROW_KNOWN) == 0) {
    return {{}, PROBLEM_UNKNOWN_SYSCALL, 0};
  }
  const bool anonymous = (row.flags & ROW_MAPS) != 0 && (call.args[3] & CAPTURE_MAP_ANONYMOUS) != 0;
  const fd_class file = anonymous ? FD_NONE : call.file;
  Planner planner(call, read, commands, options);
  bool refused = false;
  if (options.own_copies || (row.own_copy_classes & (1u << file)) == 0) {
    const size_t count = std::min<size_t>(row.output_count, CAPTURE_MAX_OUTPUTS);
    for (const capture_output& output : std::span(row.outputs).first(count)) {
      refused |= planner.AddOutput(output);
    }
  }
  return planner.Finish(row, file, refused);
}

CapturePlan PlanCapture(const capture_row& row, const CaptureCall& call, const MemoryReader& read,
                        PlanOptions options) {
  const CommandLookup listed = [](capture_command key) -> const uint32_t* {
    const CommandSize* found = FindCommand(key);
    return found != nullptr ? &found->size : nullptr;
  };
  return PlanCapture(row, call, read, listed, options);
}

}  // namespace migrate
