#include "cli/logged_memory.h"

namespace migrate {

const EventSpan* LoggedMemory::Find(std::uint64_t address, Side side) const {
  const EventSpan* best = nullptr;
  for (const EventSpan& span : spans_) {
    if (((span.flags & EVENT_SPAN_INPUT) != 0) != (side == Side::kRead) ||
        address - span.address >= span.bytes.size()) {  // wraps if it is before the span
      continue;
    }
    const bool better = best == nullptr || (span.address == address && best->address != address) ||
                        (span.address == best->address && span.bytes.size() > best->bytes.size());
    best = better ? &span : best;
  }
  return best;
}

std::span<const std::byte> LoggedMemory::From(std::uint64_t address, Side side) const {
  const EventSpan* span = Find(address, side);
  return span == nullptr ? std::span<const std::byte>()
                         : span->bytes.subspan(static_cast<std::size_t>(address - span->address));
}

}  // namespace migrate
