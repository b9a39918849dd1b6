// RateLimiter: a token bucket in bytes, shared by the streams that together may use so much of the
// network. A take may overdraw the bucket, so that a chunk larger than the burst passes; later ones
// wait for the debt. Thread-safe; never blocks: the caller waits for the time that it is told.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace migrate {

class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RateLimiter(std::uint64_t bytes_per_second = 0) : rate_(bytes_per_second) {}

  // 0: no limit. Soon takes effect for those who wait, too.
  void SetRate(std::uint64_t bytes_per_second) { rate_ = bytes_per_second; }
  std::uint64_t rate() const { return rate_; }

  // 0: the bytes were taken. Otherwise nothing was, ask again after this time.
  Clock::duration Take(std::uint64_t bytes, Clock::time_point now);

 private:
  std::atomic<std::uint64_t> rate_;
  std::mutex mutex_;
  double tokens_ = 0;  // bytes; negative after an overdraft
  Clock::time_point filled_{};
};

}  // namespace migrate
