#include "proto/event_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/limits.h"
#include "proto/event_log_samples.h"

namespace migrate {
namespace {

using Status = EventAssembler::Status;

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

FrameBuilder Read() {
  FrameBuilder builder(EVENT_SYSCALL, 42);
  builder.Number(0).Result(3).File(FD_SOCKET).Args({4, 0x1000, 16});
  return builder;
}

TEST(EventFrame, WhatIsBuiltIsParsed) {
  const auto frame = Read().Span(0x1000, "abc").Span(0x2000, "", EVENT_SPAN_INPUT).Build();
  ASSERT_EQ(frame.size() % 8, 0u);
  Event event;
  const FrameResult result = ParseFrame(frame, event);
  ASSERT_EQ(result.status, FrameStatus::kFrame) << result.reason;
  EXPECT_EQ(result.size, frame.size());
  EXPECT_EQ(event.kind, EVENT_SYSCALL);
  EXPECT_EQ(event.tid, 42u);
  EXPECT_EQ(event.result, 3);
  EXPECT_EQ(event.file, FD_SOCKET);
  EXPECT_EQ(event.arg_count, 3);
  EXPECT_EQ(event.args[1], 0x1000u);
  EXPECT_EQ(event.args[3], 0u);
  ASSERT_EQ(event.spans.size(), 2u);
  EXPECT_EQ(Text(event.spans[0].bytes), "abc");
  EXPECT_EQ(event.spans[1].flags, EVENT_SPAN_INPUT);
  EXPECT_EQ(event.DataBytes(), 3u);
  EXPECT_EQ(event.frame_bytes, frame.size());
}

TEST(EventFrame, EveryPrefixNeedsMore) {
  const auto frame = Read().Span(0x1000, "abc").Build();
  Event event;
  for (std::size_t size = 0; size < frame.size(); ++size) {
    const FrameResult result = ParseFrame(std::span(frame).first(size), event);
    EXPECT_EQ(result.status, FrameStatus::kNeedMore) << size;
    EXPECT_GT(result.size, size);
  }
}

// What the layout does not allow, each with the change that makes it so.
TEST(EventFrame, WhatTheLayoutDoesNotAllowIsCorrupt) {
  struct Case {
    std::size_t offset;
    int value;
    const char* reason;
  };
  const auto frame = Read().Span(0x1000, "abc").Build();
  const std::size_t span_at = sizeof(event_frame) + 3 * 8;
  const Case cases[] = {
      {offsetof(event_frame, size), 16, "impossible size"},
      {offsetof(event_frame, size), 65, "impossible size"},
      {offsetof(event_frame, size) + 3, 1, "impossible size"},
      {offsetof(event_frame, kind), 0, "kind"},
      {offsetof(event_frame, kind), EVENT_KIND_COUNT, "kind"},
      {offsetof(event_frame, kind), EVENT_DATA | 0x80, "kind"},
      {offsetof(event_frame, flags), 8, "flags"},
      {offsetof(event_frame, reserved), 1, "flags"},
      {offsetof(event_frame, fd_class), FD_CLASS_COUNT, "class"},
      {offsetof(event_frame, arg_count), 7, "too many arguments"},
      {offsetof(event_frame, span_count), 65, "too many spans"},
      {offsetof(event_frame, span_count), 6, "too small"},
      {offsetof(event_frame, span_count), 0, "larger than its content"},
      {span_at + offsetof(event_span, length), 9, "longer than its frame"},
      {span_at + offsetof(event_span, length) + 3, 255, "longer than its frame"},
      {span_at + offsetof(event_span, flags), 4, "flags"},
      {span_at + offsetof(event_span, reserved), 1, "flags"},
      {frame.size() - 1, 1, "larger than its content"},
  };
  for (const Case& c : cases) {
    auto changed = frame;
    changed[c.offset] = static_cast<std::byte>(c.value);
    Event event;
    const FrameResult result = ParseFrame(changed, event);
    EXPECT_EQ(result.status, FrameStatus::kCorrupt) << c.offset << " " << c.value;
    EXPECT_THAT(std::string(result.reason), ::testing::HasSubstr(c.reason)) << c.offset;
  }
}

TEST(EventFrame, ASpanMayNotWrapAround) {
  const auto frame = Read().Span(~std::uint64_t{1}, "abc").Build();
  Event event;
  EXPECT_EQ(ParseFrame(frame, event).status, FrameStatus::kCorrupt);
}

// All events of these frames; the spans of each are copied into `bytes`.
struct Assembled {
  std::vector<Event> events;
  std::vector<std::string> bytes;
  std::string_view problem;
  bool pending = false;
};

Assembled Assemble(std::span<const std::byte> frames) {
  Assembled all;
  EventAssembler assembler;
  Event event;
  while (!frames.empty()) {
    const FrameResult frame = ParseFrame(frames, event);
    if (frame.status != FrameStatus::kFrame) {
      all.problem = frame.reason;
      return all;
    }
    frames = frames.subspan(frame.size);
    const Status status = assembler.Add(event);
    if (status == Status::kCorrupt) {
      all.problem = assembler.reason();
      return all;
    }
    if (status == Status::kEvent) {
      all.events.push_back(event);
      all.bytes.emplace_back();
      for (const EventSpan& span : event.spans) {
        all.bytes.back() += Text(span.bytes);
      }
    }
  }
  all.pending = assembler.pending();
  return all;
}

TEST(EventAssembler, AnEventOfEachKindGetsItsLsn) {
  const Assembled all = Assemble(EveryKindOfFrame());
  EXPECT_EQ(all.problem, "");
  for (std::size_t i = 0; i < all.events.size(); ++i) {
    EXPECT_EQ(all.events[i].lsn, i);
  }
  ASSERT_EQ(all.events.size(), 12u);
  EXPECT_EQ(all.events[3].kind, EVENT_SWITCH);  // came between data and its syscall
  EXPECT_EQ(all.events[4].kind, EVENT_SYSCALL);
  ASSERT_EQ(all.events[4].spans.size(), 1u);  // one buffer, though two frames
  EXPECT_EQ(all.bytes[4], std::string(100, 'x'));
  EXPECT_FALSE(all.pending);
}

TEST(EventAssembler, AMegabyteIsOneSpan) {
  std::string data(1 << 20, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>(i * 7 >> 3);
  }
  std::vector<std::byte> frames;
  Read().Span(0x1000, data).Span(0x900000, "tail").AppendTo(frames);
  const Assembled all = Assemble(frames);
  ASSERT_EQ(all.events.size(), 1u) << all.problem;
  ASSERT_EQ(all.events[0].spans.size(), 2u);
  EXPECT_EQ(all.events[0].spans[0].address, 0x1000u);
  EXPECT_EQ(all.events[0].spans[1].address, 0x900000u);
  EXPECT_TRUE(all.bytes[0] == data + "tail");
  EXPECT_EQ(all.events[0].frame_bytes, frames.size());
}

TEST(EventAssembler, ManySpansTakeSeveralFrames) {
  FrameBuilder builder = Read();
  for (int i = 0; i < 1000; ++i) {
    builder.Span(static_cast<std::uint64_t>(i) * 0x1000, std::to_string(i));
  }
  const Assembled all = Assemble(builder.Build());
  ASSERT_EQ(all.events.size(), 1u) << all.problem;
  ASSERT_EQ(all.events[0].spans.size(), 1000u);
  EXPECT_EQ(all.events[0].spans[999].address, 999u * 0x1000);
}

TEST(EventAssembler, DataWithoutItsSyscallAndTheReverse) {
  const auto data = FrameBuilder(EVENT_DATA, 42).Span(0x1000, "abc").Build();
  const auto with = [&data](const FrameBuilder& next) {
    auto frames = data;
    next.AppendTo(frames);
    return Assemble(frames);
  };
  EXPECT_EQ(Assemble(Read().Flags(EVENT_FLAG_CONTINUED).Build()).problem,
            "a syscall lacks its data frames");
  EXPECT_EQ(with(Read()).problem, "data frames lack their syscall");
  EXPECT_EQ(with(FrameBuilder(EVENT_TASK_EXIT, 42)).problem, "data frames lack their syscall");
  EXPECT_TRUE(with(FrameBuilder(EVENT_SWITCH, 42)).pending);
  EXPECT_TRUE(with(FrameBuilder(EVENT_SYSCALL, 43)).pending);
  // The recording was cut there.
  EXPECT_FALSE(with(FrameBuilder(EVENT_PROBLEM, 42)).pending);
  EXPECT_EQ(Assemble(FrameBuilder(EVENT_DATA, 42).Build()).problem, "a data frame without data");
}

TEST(EventAssembler, AnInterruptedCallIsAnEvent) {
  const auto all = Assemble(FrameBuilder(EVENT_SYSCALL, 42)
                                .Number(7)
                                .Result(-516)
                                .Flags(EVENT_FLAG_RESTARTED | EVENT_FLAG_INTERRUPTED)
                                .Build());
  ASSERT_EQ(all.events.size(), 1u) << all.problem;
  EXPECT_EQ(all.events[0].flags, EVENT_FLAG_RESTARTED | EVENT_FLAG_INTERRUPTED);
}

TEST(EventAssembler, WhatItKeepsIsBounded) {
  const std::string block(EVENT_MAX_DATA, 'x');
  const auto frame = FrameBuilder(EVENT_DATA, 42).Span(0x1000, block).Build();
  Event event;
  EventAssembler assembler;
  for (int i = 0; i < EVENT_MAX_SYSCALL_DATA / EVENT_MAX_DATA; ++i) {
    ASSERT_EQ(ParseFrame(frame, event).status, FrameStatus::kFrame);
    ASSERT_EQ(assembler.Add(event), Status::kPending) << i;
  }
  ASSERT_EQ(ParseFrame(frame, event).status, FrameStatus::kFrame);
  EXPECT_EQ(assembler.Add(event), Status::kCorrupt);

  EventAssembler tasks;
  Status status = Status::kPending;
  std::uint32_t tid = 0;
  while (status == Status::kPending && tid < 1000) {
    const auto small = FrameBuilder(EVENT_DATA, ++tid).Span(0x1000, "x").Build();
    ASSERT_EQ(ParseFrame(small, event).status, FrameStatus::kFrame);
    status = tasks.Add(event);
  }
  EXPECT_EQ(tid, limits::kMaxTasksWithData + 1);
}

}  // namespace
}  // namespace migrate
