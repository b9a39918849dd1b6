// Event logs for tests, fuzzers and benchmarks: made from a seed, without a recorder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "proto/event_chunk.h"
#include "proto/event_frame.h"

namespace migrate {

inline constexpr std::string_view kSampleEpoch = "0123456789abcdef";

// Frames as a server under load makes them: epoll_wait, read, write, clock_gettime, futex, by
// several tasks, about 110 bytes each. As many events as asked for.
std::vector<std::byte> SampleFrames(std::size_t events, std::uint64_t seed = 1);

// At least one event of each kind, and one whose bytes need data frames; between MARK_START and
// MARK_END. Small but for the `large_bytes` of that one.
std::vector<std::byte> EveryKindOfFrame(std::size_t large_bytes = 100);

// The chunks of a log, a chunk for each element.
std::vector<std::byte> SampleLog(const std::vector<std::vector<std::byte>>& frames_of_chunks,
                                 int compression_level, bool ended = true);

// How many events these whole frames are.
std::uint32_t CountEvents(std::span<const std::byte> frames);

}  // namespace migrate
