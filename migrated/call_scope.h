// What the target of a migration knows of its source being alive: calls that are under way, and
// when the last one ended. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace migrate {

inline std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Counts calls under way, which are signs of life of the source.
class CallScope {
 public:
  CallScope(std::atomic<int>& calls, std::atomic<std::int64_t>& last) : calls_(calls), last_(last) {
    ++calls_;
  }
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;
  ~CallScope() {
    last_ = NowMs();
    --calls_;
  }

 private:
  std::atomic<int>& calls_;
  std::atomic<std::int64_t>& last_;
};

}  // namespace migrate
