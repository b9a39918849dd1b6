// HoldPump: the thread that holds the packets of one NFQUEUE. First it lets them wait, within the
// bounds; once opened it accepts them, in order of arrival, and then all others as they come.
//
// Owns the thread and the queue. When it ends the kernel drops what still waits. Thread-safe.
// Internal to migrated/network.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/hold_queue.h"
#include "migrated/network/nfqueue.h"

namespace migrate::internal {

class HoldPump {
 public:
  HoldPump(NfQueue queue, OwnedFd wake, std::size_t max_bytes);
  HoldPump(const HoldPump&) = delete;
  HoldPump& operator=(const HoldPump&) = delete;
  ~HoldPump();

  std::uint16_t number() const { return queue_.number(); }
  void Open();
  // Waits until all that had arrived before the call is accepted; false if that takes longer.
  bool Drain(std::chrono::milliseconds limit);
  HoldStats stats() const;

 private:
  using Clock = std::chrono::steady_clock;

  void Run();
  void Wake();
  // Takes in what has come and judges it. False if there was nothing.
  bool Round(bool open);
  void Keep(bool bounded);
  void AcceptAll();

  const std::size_t max_bytes_;
  NfQueue queue_;  // of the thread, but for its number and KernelDrops()
  OwnedFd wake_;   // eventfd

  // Of the thread.
  std::vector<NfQueue::Packet> arrived_;
  std::vector<NfQueue::Packet> held_;
  std::size_t held_bytes_ = 0;
  Clock::time_point oldest_;  // arrival of the first of held_

  mutable std::mutex mutex_;
  std::condition_variable drained_;
  bool open_ = false;
  bool stop_ = false;
  std::uint64_t drain_wanted_ = 0;
  std::uint64_t drain_done_ = 0;
  HoldStats stats_;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace migrate::internal
