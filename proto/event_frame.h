// Bytes of the log <-> events in memory (layout: proto/event_layout.h). Owns no file and no thread.
//
// ParseFrame() looks at one frame; EventAssembler joins the data frames of a large syscall with the
// frame that ends it and counts LSNs; FrameBuilder makes frames. Whatever is not exactly as the
// layout says is corrupt, with a reason: unknown kinds, flags and classes too. Nothing here
// allocates by what a frame claims before the claim was checked against a limit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "proto/event_layout.h"

namespace migrate {

// Bytes of the task's memory.
struct EventSpan {
  std::uint64_t address = 0;
  std::uint16_t flags = 0;  // EVENT_SPAN_*
  std::span<const std::byte> bytes;
};

// One event of the log. The bytes of the spans belong to whoever delivered it (frame, assembler or
// reader, see there for how long); the rest is a value.
struct Event {
  std::uint64_t lsn = 0;  // the first event of an epoch has 0
  event_kind kind = EVENT_INVALID;
  std::uint8_t flags = 0;  // EVENT_FLAG_*
  fd_class file = FD_NONE;
  std::uint32_t tid = 0;
  std::uint16_t number = 0;
  std::int64_t result = 0;
  std::uint8_t arg_count = 0;
  std::array<std::uint64_t, EVENT_MAX_ARGS> args{};  // zero from arg_count on
  std::vector<EventSpan> spans;
  std::uint32_t frame_bytes = 0;  // in the log, its data frames included

  std::uint64_t DataBytes() const;  // in all spans
};

enum class FrameStatus { kFrame, kNeedMore, kCorrupt };

struct FrameResult {
  FrameStatus status = FrameStatus::kNeedMore;
  // kFrame: its size; kNeedMore: how many bytes are needed, as far as known by now.
  std::size_t size = 0;
  std::string_view reason = {};  // kCorrupt; a literal
};

// The frame at the start of `bytes`, into `event` (whose spans then point into `bytes`; lsn is left
// alone). An EVENT_DATA frame is one too. `event` is unspecified unless kFrame is returned.
FrameResult ParseFrame(std::span<const std::byte> bytes, Event& event);

// Frames in, events out. Holds at most EVENT_MAX_SYSCALL_DATA bytes of data frames.
class EventAssembler {
 public:
  enum class Status {
    kEvent,    // `event` is complete
    kPending,  // it was a data frame, kept for the syscall that ends it
    kCorrupt,  // see reason(); this object is of no more use
  };

  explicit EventAssembler(std::uint64_t first_lsn = 0) : next_lsn_(first_lsn) {}

  // Takes a parsed frame, gives it its LSN, and puts the data frames of its task in front of its
  // own spans. Those bytes are valid until the next call.
  Status Add(Event& event);

  std::uint64_t next_lsn() const { return next_lsn_; }
  // Data frames whose syscall has not come yet: no chunk and no log ends here.
  bool pending() const { return !pending_.empty(); }
  std::string_view reason() const { return reason_; }

 private:
  struct SpanHead {
    std::uint64_t address;
    std::uint16_t flags;
    std::uint32_t length;
  };
  struct Data {
    std::vector<SpanHead> spans;
    std::vector<std::byte> bytes;
    std::uint32_t frame_bytes = 0;
  };

  Status Corrupt(std::string_view reason);
  Status Keep(const Event& event);
  void Join(Event& event);

  std::uint64_t next_lsn_;
  std::map<std::uint32_t, Data> pending_;  // by task; in practice one
  std::size_t pending_bytes_ = 0;
  std::size_t pending_spans_ = 0;
  Data joined_;  // what the last event's spans point to
  std::string_view reason_;
};

// Makes the frames of one event: for what the recorder logs from user space, and for tests.
class FrameBuilder {
 public:
  explicit FrameBuilder(event_kind kind, std::uint32_t tid = 0);

  FrameBuilder& Number(std::uint16_t number);
  FrameBuilder& Result(std::int64_t result);
  FrameBuilder& File(fd_class file);
  FrameBuilder& Flags(std::uint8_t flags);
  FrameBuilder& Args(std::span<const std::uint64_t> args);  // at most EVENT_MAX_ARGS
  FrameBuilder& Args(std::initializer_list<std::uint64_t> args);
  FrameBuilder& Span(std::uint64_t address, std::span<const std::byte> bytes,
                     std::uint16_t flags = 0);  // copies
  FrameBuilder& Span(std::uint64_t address, std::string_view bytes, std::uint16_t flags = 0);

  // Appends the frame to `out`. An EVENT_SYSCALL whose spans do not fit into one becomes several:
  // EVENT_DATA frames first. Any other kind must fit.
  void AppendTo(std::vector<std::byte>& out) const;
  std::vector<std::byte> Build() const;

 private:
  struct OwnSpan {
    std::uint64_t address;
    std::uint16_t flags;
    std::vector<std::byte> bytes;
  };

  event_frame frame_{};
  std::array<std::uint64_t, EVENT_MAX_ARGS> args_{};
  std::vector<OwnSpan> spans_;
};

}  // namespace migrate
