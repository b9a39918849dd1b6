// Counters of one end of a ship stream, or of several that share the object. Written by the stream,
// read by anybody at any time; each is exact, together they are only nearly of one instant.
#pragma once

#include <atomic>
#include <cstdint>

namespace migrate {

struct StreamStatistics {
  std::atomic<std::uint64_t> raw_bytes = 0;    // sender: encoded; receiver: read
  std::atomic<std::uint64_t> wire_bytes = 0;   // payload after compression, resent chunks too
  std::atomic<std::uint64_t> chunks = 0;       // sender: encoded; receiver: read
  std::atomic<std::uint64_t> retransmits = 0;  // sender: sent again; receiver: duplicates
  std::atomic<std::uint64_t> reconnects = 0;   // calls after the first
  std::atomic<std::uint64_t> chunks_held = 0;  // in memory now: sent and kept, or queued
  std::atomic<std::uint64_t> chunks_held_max = 0;
  std::atomic<int> compression_level = 0;  // sender: now; 0 is off

  void AddHeld(std::int64_t added) {
    const std::uint64_t now = chunks_held += static_cast<std::uint64_t>(added);
    std::uint64_t max = chunks_held_max;
    while (added > 0 && now > max && !chunks_held_max.compare_exchange_weak(max, now)) {
    }
  }
};

}  // namespace migrate
