#include "migrated/ship/chunk_rate.h"

#include <algorithm>

namespace migrate {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::duration<double> kBurst = 50ms;
// The longest wait that is answered at once, so that a changed rate is soon noticed.
constexpr RateLimiter::Clock::duration kRateSlice = 50ms;

}  // namespace

RateLimiter::Clock::duration RateLimiter::Take(std::uint64_t bytes, Clock::time_point now) {
  const auto rate = static_cast<double>(rate_.load());
  std::lock_guard lock(mutex_);
  if (rate <= 0) {
    tokens_ = 0;
    filled_ = now;
    return Clock::duration::zero();
  }
  if (filled_ == Clock::time_point{}) {
    filled_ = now;
  }
  const std::chrono::duration<double> passed = now - filled_;
  tokens_ = std::min(tokens_ + std::max(passed.count(), 0.0) * rate, kBurst.count() * rate);
  filled_ = std::max(filled_, now);
  if (tokens_ < 0) {
    const std::chrono::duration<double> wait(-tokens_ / rate);
    return std::clamp(std::chrono::duration_cast<Clock::duration>(wait), Clock::duration(1ms),
                      kRateSlice);
  }
  tokens_ -= static_cast<double>(bytes);
  return Clock::duration::zero();
}

}  // namespace migrate
