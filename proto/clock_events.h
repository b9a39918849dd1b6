// The clock readings of an EVENT_CLOCKS: what a process read without a system call since the last
// event of its memory (how they get there: base/clock_ring.h). Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/clock_ring.h"
#include "base/result.h"
#include "proto/event_frame.h"

namespace migrate {

struct ClockReading {
  std::uint64_t number = 0;  // in its ring, from 0 on; where one is missing was a system call
  clock_function function = CLOCK_FUNCTION_NONE;
  std::uint16_t clock = 0;                  // CLOCK_GETTIME: its id
  std::uint64_t result = 0;                 // of an int function: the low half
  std::array<std::uint64_t, 2> value = {};  // without a meaning if the result is an error

  friend bool operator==(const ClockReading&, const ClockReading&) = default;
};

// In their order. kDataLoss if the event is not exactly as the recorder makes it: a size, a
// sequence or a function that does not fit.
Result<std::vector<ClockReading>> ReadingsOf(const Event& event);

}  // namespace migrate
