// The memory of a task as far as an event tells it: bytes by their address. Every access is checked
// against what was logged; addresses are whatever the log says, no arithmetic on them is trusted.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "proto/event_frame.h"

namespace migrate {

class LoggedMemory {
 public:
  enum class Side { kWritten, kRead };  // by the kernel

  explicit LoggedMemory(std::span<const EventSpan> spans) : spans_(spans) {}

  // The longest span that begins there, or else one that contains it.
  const EventSpan* Find(std::uint64_t address, Side side = Side::kWritten) const;

  // From there to the end of its span; nothing if it was not logged.
  std::span<const std::byte> From(std::uint64_t address, Side side = Side::kWritten) const;

  template <typename T>
  std::optional<T> Get(std::uint64_t address, Side side = Side::kWritten) const;

 private:
  std::span<const EventSpan> spans_;
};

// The value at the start of `bytes`.
template <typename T>
std::optional<T> ValueOf(std::span<const std::byte> bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof(T)) {
    return std::nullopt;
  }
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <typename T>
std::optional<T> LoggedMemory::Get(std::uint64_t address, Side side) const {
  return ValueOf<T>(From(address, side));
}

}  // namespace migrate
