#include "proto/clock_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <functional>

namespace migrate {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kRing = 0x7f0000002000;

// Entries as the code in a process writes them, and the event that the recorder makes of them.
struct Drained {
  std::vector<clock_ring_entry> entries;
  std::vector<std::byte> frame;
  Event event;

  Drained(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t number = first; number < first + count; ++number) {
      clock_ring_entry entry{};
      if (number % CLOCK_RING_ENTRIES != 0) {
        entry = {static_cast<std::uint32_t>(number),
                 CLOCK_GETTIME,
                 CLOCK_MONOTONIC,
                 0,
                 {1000 + number, number}};
      }
      entries.push_back(entry);
    }
    Build(first);
  }

  void Build(std::uint64_t first) {
    const std::size_t slot = first % CLOCK_RING_ENTRIES;
    const std::size_t front = std::min<std::size_t>(entries.size(), CLOCK_RING_ENTRIES - slot);
    const auto bytes = std::as_bytes(std::span(entries));
    const std::size_t split = front * sizeof(clock_ring_entry);
    FrameBuilder builder(EVENT_CLOCKS, 7);
    builder.Args({first, entries.size()});
    builder.Span(kRing + slot * sizeof(clock_ring_entry), bytes.first(split));
    if (split < bytes.size()) {
      builder.Span(kRing, bytes.subspan(split));
    }
    frame = builder.Build();
    EXPECT_EQ(ParseFrame(frame, event).status, FrameStatus::kFrame);
  }
};

TEST(ClockEvents, ReadingsInTheirOrder) {
  const Drained drained(5, 3);
  const auto readings = ReadingsOf(drained.event);
  ASSERT_TRUE(readings) << readings.error().message;
  ASSERT_EQ(readings->size(), 3u);
  EXPECT_EQ((*readings)[0], (ClockReading{5, CLOCK_GETTIME, CLOCK_MONOTONIC, 0, {1005, 5}}));
  EXPECT_EQ((*readings)[2].number, 7u);
}

TEST(ClockEvents, TheFirstOfARoundIsNoReading) {
  EXPECT_EQ(ReadingsOf(Drained(0, 10).event)->size(), 9u);
  const Drained wrapped(2 * CLOCK_RING_ENTRIES - 2, 5);
  ASSERT_EQ(wrapped.event.spans.size(), 2u);
  const auto readings = ReadingsOf(wrapped.event);
  ASSERT_TRUE(readings) << readings.error().message;
  ASSERT_EQ(readings->size(), 4u);
  EXPECT_EQ((*readings)[1].number, 2 * CLOCK_RING_ENTRIES - 1);
  EXPECT_EQ((*readings)[2].number, 2 * CLOCK_RING_ENTRIES + 1);
  EXPECT_EQ(ReadingsOf(Drained(CLOCK_RING_ENTRIES, 1).event)->size(), 0u);
  EXPECT_EQ(ReadingsOf(Drained(77, CLOCK_RING_ENTRIES).event)->size(), CLOCK_RING_ENTRIES - 1u);
}

TEST(ClockEvents, OnlyTheLowHalfOfANumberIsInItsEntry) {
  const std::uint64_t far = (std::uint64_t{5} << 32) + 3;
  const auto readings = ReadingsOf(Drained(far, 2).event);
  ASSERT_TRUE(readings) << readings.error().message;
  EXPECT_EQ((*readings)[1].number, far + 1);
}

TEST(ClockEvents, WhatDoesNotFitIsCorrupt) {
  const struct {
    std::function<void(Drained&)> change;
    const char* reason;
  } kCases[] = {
      {[](Drained& d) { d.event.kind = EVENT_TSC; }, "without a first"},
      {[](Drained& d) { d.event.arg_count = 1; }, "without a first"},
      {[](Drained& d) { d.event.args[1] = 0; }, "0 entries"},
      {[](Drained& d) { d.event.args[1] = 257; }, "257 entries"},
      {[](Drained& d) { d.event.args[1] = ~0ull; }, "entries of a ring"},
      {[](Drained& d) { d.event.args[1] = 4; }, "as many bytes"},
      {[](Drained& d) { d.event.args[0] = ~0ull; }, "as many bytes"},
      {[](Drained& d) { d.event.spans.clear(); }, "as many bytes"},
      {[](Drained& d) { d.event.spans.pop_back(); }, "as many bytes"},
      {[](Drained& d) { d.event.spans.push_back(d.event.spans[0]); }, "as many bytes"},
      {[](Drained& d) { d.event.spans[0].bytes = d.event.spans[0].bytes.first(31); }, "as many"},
      {[](Drained& d) { d.event.spans[1].bytes = d.event.spans[1].bytes.first(95); }, "as many"},
      {[](Drained& d) { d.event.spans[1].address += 32; }, "not one ring"},
      {[](Drained& d) { d.event.args[0] += CLOCK_RING_ENTRIES; }, "sequence 254"},
      {[](Drained& d) { d.entries[1].sequence = 0, d.Build(254); }, "entry 255 has the sequence 0"},
      {[](Drained& d) { d.entries[3].function = 0, d.Build(254); }, "entry 257 is of function 0"},
      {[](Drained& d) { d.entries[3].function = 4, d.Build(254); }, "entry 257 is of function 4"},
  };
  for (const auto& each : kCases) {
    Drained drained(254, 5);
    ASSERT_TRUE(ReadingsOf(drained.event));
    each.change(drained);
    const auto readings = ReadingsOf(drained.event);
    ASSERT_FALSE(readings) << each.reason;
    EXPECT_EQ(readings.error().code, ErrorCode::kDataLoss);
    EXPECT_THAT(readings.error().message, HasSubstr(each.reason));
  }
}

}  // namespace
}  // namespace migrate
