#include "proto/event_frame.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"

namespace migrate {
namespace {

static_assert(std::endian::native == std::endian::little, "the log is little-endian");
static_assert(sizeof(event_frame) == 24 && sizeof(event_span) == 16);

constexpr std::uint8_t kKnownFlags =
    EVENT_FLAG_CONTINUED | EVENT_FLAG_RESTARTED | EVENT_FLAG_INTERRUPTED;
constexpr std::uint16_t kKnownSpanFlags = EVENT_SPAN_INPUT | EVENT_SPAN_TRUNCATED;

constexpr std::size_t RoundUp8(std::size_t size) { return (size + 7) & ~std::size_t{7}; }

template <typename T>
T Load(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

FrameResult Corrupt(std::string_view reason) { return {FrameStatus::kCorrupt, 0, reason}; }

// Empty: nothing is wrong with it.
std::string_view HeadProblem(const event_frame& head) {
  if (head.size < sizeof head || head.size > EVENT_MAX_FRAME || head.size % 8 != 0) {
    return "a frame has an impossible size";
  }
  if (head.kind == EVENT_INVALID || head.kind >= EVENT_KIND_COUNT) {
    return "a frame is of a kind that is not known";
  }
  if (head.fd_class >= FD_CLASS_COUNT) {
    return "a frame names a class of files that is not known";
  }
  if ((head.flags & ~kKnownFlags) != 0 || head.reserved != 0) {
    return "a frame has flags that are not known";
  }
  if ((head.flags & EVENT_FLAG_CONTINUED) != 0 && head.kind != EVENT_SYSCALL) {
    return "a frame that is no syscall claims data frames";
  }
  if (head.arg_count > EVENT_MAX_ARGS) {
    return "a frame has too many arguments";
  }
  if (head.span_count > EVENT_MAX_SPANS) {
    return "a frame has too many spans";
  }
  if (sizeof head + head.arg_count * sizeof(ev_u64) + head.span_count * sizeof(event_span) >
      head.size) {
    return "a frame is too small for its arguments and spans";
  }
  return {};
}

// The spans and their bytes; `frame` is exactly the frame, `offset` is where the spans are.
std::string_view ParseSpans(std::span<const std::byte> frame, std::size_t offset, unsigned count,
                            std::vector<EventSpan>& spans) {
  std::size_t data = offset + count * sizeof(event_span);
  const std::size_t first_data = data;
  spans.clear();
  for (unsigned i = 0; i < count; ++i) {
    const auto span = Load<event_span>(frame, offset + i * sizeof(event_span));
    if ((span.flags & ~kKnownSpanFlags) != 0 || span.reserved != 0) {
      return "a span has flags that are not known";
    }
    if (span.length > frame.size() - data) {
      return "a span is longer than its frame";
    }
    if (span.address + span.length < span.address) {
      return "a span wraps around the end of memory";
    }
    spans.push_back({span.address, span.flags, frame.subspan(data, span.length)});
    data += span.length;
  }
  if (data - first_data > EVENT_MAX_DATA) {
    return "a frame has too many bytes of data";
  }
  if (RoundUp8(data) != frame.size() ||
      std::any_of(frame.begin() + static_cast<std::ptrdiff_t>(data), frame.end(),
                  [](std::byte byte) { return byte != std::byte{0}; })) {
    return "a frame is larger than its content";
  }
  return {};
}

}  // namespace

std::uint64_t Event::DataBytes() const {
  std::uint64_t bytes = 0;
  for (const EventSpan& span : spans) {
    bytes += span.bytes.size();
  }
  return bytes;
}

FrameResult ParseFrame(std::span<const std::byte> bytes, Event& event) {
  if (bytes.size() < sizeof(event_frame)) {
    return {FrameStatus::kNeedMore, sizeof(event_frame)};
  }
  const auto head = Load<event_frame>(bytes, 0);
  if (const auto problem = HeadProblem(head); !problem.empty()) {
    return Corrupt(problem);
  }
  if (bytes.size() < head.size) {
    return {FrameStatus::kNeedMore, head.size};
  }
  event.kind = static_cast<event_kind>(head.kind);
  event.flags = head.flags;
  event.file = static_cast<fd_class>(head.fd_class);
  event.tid = head.tid;
  event.number = head.number;
  event.result = head.result;
  event.arg_count = head.arg_count;
  event.frame_bytes = head.size;
  event.args.fill(0);
  std::memcpy(event.args.data(), bytes.data() + sizeof head, head.arg_count * sizeof(ev_u64));
  const std::size_t spans_at = sizeof head + head.arg_count * sizeof(ev_u64);
  const auto problem =
      ParseSpans(bytes.first(head.size), spans_at, head.span_count, event.spans);
  return problem.empty() ? FrameResult{FrameStatus::kFrame, head.size} : Corrupt(problem);
}

EventAssembler::Status EventAssembler::Corrupt(std::string_view reason) {
  reason_ = reason;
  return Status::kCorrupt;
}

// What goes on where the frame before ended is one span of the task's memory: a large read is many
// frames and one buffer.
EventAssembler::Status EventAssembler::Keep(const Event& event) {
  const std::uint64_t bytes = event.DataBytes();
  if (pending_bytes_ + bytes > EVENT_MAX_SYSCALL_DATA ||
      pending_spans_ + event.spans.size() > limits::kMaxSpansPerEvent) {
    return Corrupt("the data frames of a syscall are larger than one may be");
  }
  if (event.kind == EVENT_DATA && bytes == 0) {
    return Corrupt("a data frame without data");
  }
  if (pending_.size() >= limits::kMaxTasksWithData && !pending_.contains(event.tid)) {
    return Corrupt("data frames of too many tasks lack their syscall");
  }
  Data& data = pending_[event.tid];
  const std::size_t spans_before = data.spans.size();
  bool first = true;
  for (const EventSpan& span : event.spans) {
    const auto length = static_cast<std::uint32_t>(span.bytes.size());
    if (SpanHead* last = first && !data.spans.empty() ? &data.spans.back() : nullptr;
        last != nullptr && last->flags == span.flags &&
        last->address + last->length == span.address) {
      last->length += length;
    } else {
      data.spans.push_back({span.address, span.flags, length});
    }
    data.bytes.insert(data.bytes.end(), span.bytes.begin(), span.bytes.end());
    first = false;
  }
  data.frame_bytes += event.frame_bytes;
  pending_bytes_ += bytes;
  pending_spans_ += data.spans.size() - spans_before;
  return Status::kPending;
}

void EventAssembler::Join(Event& event) {
  auto pending = pending_.extract(event.tid);
  joined_ = std::move(pending.mapped());
  pending_bytes_ -= joined_.bytes.size();
  pending_spans_ -= joined_.spans.size();
  event.frame_bytes = joined_.frame_bytes;
  event.spans.clear();
  std::span<const std::byte> rest = joined_.bytes;
  for (const SpanHead& span : joined_.spans) {
    event.spans.push_back({span.address, span.flags, rest.first(span.length)});
    rest = rest.subspan(span.length);
  }
}

EventAssembler::Status EventAssembler::Add(Event& event) {
  if (event.kind == EVENT_DATA) {
    return Keep(event);
  }
  const bool continued = (event.flags & EVENT_FLAG_CONTINUED) != 0;
  const bool kept = !pending_.empty() && pending_.contains(event.tid);
  if (continued && !kept) {
    return Corrupt("a syscall lacks its data frames");
  }
  if (kept && !continued && (event.kind == EVENT_SYSCALL || event.kind == EVENT_TASK_EXIT)) {
    return Corrupt("data frames lack their syscall");
  }
  if (continued) {
    if (Keep(event) == Status::kCorrupt) {
      return Status::kCorrupt;
    }
    Join(event);
  }
  if (event.kind == EVENT_PROBLEM) {
    // The syscall may never have been logged: a full ring, or more data than one may have.
    pending_.clear();
    pending_bytes_ = 0;
    pending_spans_ = 0;
  }
  event.lsn = next_lsn_++;
  return Status::kEvent;
}

FrameBuilder::FrameBuilder(event_kind kind, std::uint32_t tid) {
  frame_.kind = static_cast<std::uint8_t>(kind);
  frame_.tid = tid;
}

FrameBuilder& FrameBuilder::Number(std::uint16_t number) {
  frame_.number = number;
  return *this;
}

FrameBuilder& FrameBuilder::Result(std::int64_t result) {
  frame_.result = result;
  return *this;
}

FrameBuilder& FrameBuilder::File(fd_class file) {
  frame_.fd_class = static_cast<std::uint8_t>(file);
  return *this;
}

FrameBuilder& FrameBuilder::Flags(std::uint8_t flags) {
  frame_.flags = flags;
  return *this;
}

FrameBuilder& FrameBuilder::Args(std::span<const std::uint64_t> args) {
  CHECK(args.size() <= args_.size());
  std::copy(args.begin(), args.end(), args_.begin());
  frame_.arg_count = static_cast<std::uint8_t>(args.size());
  return *this;
}

FrameBuilder& FrameBuilder::Args(std::initializer_list<std::uint64_t> args) {
  return Args(std::span(args.begin(), args.size()));
}

FrameBuilder& FrameBuilder::Span(std::uint64_t address, std::span<const std::byte> bytes,
                                 std::uint16_t flags) {
  spans_.push_back({address, flags, {bytes.begin(), bytes.end()}});
  return *this;
}

FrameBuilder& FrameBuilder::Span(std::uint64_t address, std::string_view bytes,
                                 std::uint16_t flags) {
  return Span(address, std::as_bytes(std::span(bytes)), flags);
}

namespace {

void AppendFrame(event_frame head, std::span<const std::uint64_t> args,
                 std::span<const EventSpan> spans, std::vector<std::byte>& out) {
  std::size_t size = sizeof head + args.size_bytes() + spans.size() * sizeof(event_span);
  for (const EventSpan& span : spans) {
    size += span.bytes.size();
  }
  head.size = static_cast<ev_u32>(RoundUp8(size));
  head.arg_count = static_cast<ev_u8>(args.size());
  head.span_count = static_cast<ev_u8>(spans.size());
  const std::size_t end = out.size() + head.size;
  const auto append = [&out](const void* data, std::size_t length) {
    const auto* bytes = static_cast<const std::byte*>(data);
    out.insert(out.end(), bytes, bytes + length);
  };
  append(&head, sizeof head);
  append(args.data(), args.size_bytes());
  for (const EventSpan& span : spans) {
    const event_span wire{span.address, static_cast<ev_u32>(span.bytes.size()), span.flags, 0};
    append(&wire, sizeof wire);
  }
  for (const EventSpan& span : spans) {
    append(span.bytes.data(), span.bytes.size());
  }
  out.resize(end);
}

}  // namespace

void FrameBuilder::AppendTo(std::vector<std::byte>& out) const {
  event_frame head = frame_;
  std::vector<EventSpan> spans;
  std::size_t bytes = 0;
  const auto flush_data = [&] {
    CHECK(head.kind == EVENT_SYSCALL);
    event_frame data{};
    data.kind = EVENT_DATA;
    data.tid = head.tid;
    AppendFrame(data, {}, spans, out);
    head.flags |= EVENT_FLAG_CONTINUED;
    spans.clear();
    bytes = 0;
  };
  for (const OwnSpan& span : spans_) {
    std::span<const std::byte> rest = span.bytes;
    std::uint64_t address = span.address;
    do {
      if (bytes == EVENT_MAX_DATA || spans.size() == EVENT_MAX_SPANS) {
        flush_data();
      }
      const auto part = rest.first(std::min(rest.size(), EVENT_MAX_DATA - bytes));
      spans.push_back({address, span.flags, part});
      bytes += part.size();
      address += part.size();
      rest = rest.subspan(part.size());
    } while (!rest.empty());
  }
  AppendFrame(head, std::span(args_).first(frame_.arg_count), spans, out);
}

std::vector<std::byte> FrameBuilder::Build() const {
  std::vector<std::byte> frame;
  AppendTo(frame);
  return frame;
}

}  // namespace migrate
