// What the world sees of one migration: the latest v1::Migration, written by its driver, read by
// any number of watchers. Watchers get states, not a queue: one that is slow misses intermediate
// states, never the last one. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include "proto/control.pb.h"

namespace migrate {

class Progress {
 public:
  explicit Progress(v1::Migration initial);

  v1::Migration Snapshot() const;
  void Update(const std::function<void(v1::Migration&)>& change);

  // The phase that the operator sees; ends the one before.
  void EnterPhase(v1::Phase phase);
  void SetBytes(std::uint64_t done, std::uint64_t total);
  void SetDetail(const std::string& detail);

  // Waits until the state is newer than `seen` (a number from an earlier call, 0 at first) or the
  // time is over; the new state and its number.
  struct Version {
    v1::Migration migration;
    std::uint64_t number;
  };
  Version WaitForChange(std::uint64_t seen, std::chrono::milliseconds timeout) const;

 private:
  // Both with the mutex held. Elapsed times are a cache that readers refresh as well.
  v1::PhaseProgress& Current() const;
  void RefreshTimes() const;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable v1::Migration migration_;
  std::uint64_t number_ = 1;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point phase_start_;
};

}  // namespace migrate
