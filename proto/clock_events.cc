#include "proto/clock_events.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "base/check.h"

namespace migrate {
namespace {

constexpr std::size_t kEntryBytes = sizeof(clock_ring_entry);
static_assert(kEntryBytes == 32);

Error Corrupt(const std::string& what) {
  return MakeError(ErrorCode::kDataLoss, "clock readings: " + what);
}

// The arguments and spans: entries up to the end of the ring, then those at its beginning.
Result<> CheckShape(const Event& event) {
  if (event.kind != EVENT_CLOCKS || event.arg_count < 2) {
    return Corrupt("an event without a first and a number of readings");
  }
  const std::uint64_t slot = event.args[0] % CLOCK_RING_ENTRIES;
  const std::uint64_t count = event.args[1];
  if (count == 0 || count > CLOCK_RING_ENTRIES) {
    return Corrupt(std::to_string(count) + " entries of a ring");
  }
  const std::uint64_t in_front = std::min(count, CLOCK_RING_ENTRIES - slot);
  const std::uint64_t behind = count - in_front;
  if (event.spans.size() != (behind > 0 ? 2u : 1u) ||
      event.spans[0].bytes.size() != in_front * kEntryBytes ||
      (behind > 0 && event.spans[1].bytes.size() != behind * kEntryBytes)) {
    return Corrupt("as many bytes as entries " + std::to_string(event.args[0]) + " and " +
                   std::to_string(count - 1) + " more do not have");
  }
  if (behind > 0 && event.spans[1].address != event.spans[0].address - slot * kEntryBytes) {
    return Corrupt("two places that are not one ring");
  }
  return {};
}

// Nothing for an entry that is not in use. Number 0 of the first round looks like one that is,
// since the memory is zero, but for its function.
Result<std::optional<ClockReading>> ReadingOf(std::uint64_t number, const clock_ring_entry& entry) {
  const bool fits = entry.sequence == static_cast<std::uint32_t>(number);
  if (number % CLOCK_RING_ENTRIES == 0 && (!fits || entry.function == CLOCK_FUNCTION_NONE)) {
    return std::optional<ClockReading>();
  }
  if (!fits) {
    return Corrupt("entry " + std::to_string(number) + " has the sequence " +
                   std::to_string(entry.sequence));
  }
  if (entry.function < CLOCK_GETTIME || entry.function > CLOCK_TIME) {
    return Corrupt("entry " + std::to_string(number) + " is of function " +
                   std::to_string(entry.function));
  }
  return std::optional(ClockReading{.number = number,
                                    .function = static_cast<clock_function>(entry.function),
                                    .clock = entry.clock,
                                    .result = entry.result,
                                    .value = {entry.value[0], entry.value[1]}});
}

}  // namespace

Result<std::vector<ClockReading>> ReadingsOf(const Event& event) {
  TRY(CheckShape(event));
  std::vector<ClockReading> readings;
  readings.reserve(event.args[1]);
  std::uint64_t number = event.args[0];
  for (const EventSpan& span : event.spans) {
    for (auto bytes = span.bytes; !bytes.empty(); bytes = bytes.subspan(kEntryBytes)) {
      CHECK(bytes.size() >= kEntryBytes);
      clock_ring_entry entry;
      std::memcpy(&entry, bytes.data(), kEntryBytes);
      if (const auto reading = TRY(ReadingOf(number++, entry))) {
        readings.push_back(*reading);
      }
    }
  }
  return readings;
}

}  // namespace migrate
