// Sleeping that a stop ends at once, for background threads whose end somebody waits for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace migrate {

// True if `stop` was requested before the time was over. Thread-safe.
inline bool WaitForStop(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, time, [] { return false; });
  return stop.stop_requested();
}

}  // namespace migrate
