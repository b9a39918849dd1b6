// The text of events that no kernel made: any kind, number, arguments and results, with spans of any
// bytes at, near and far from the addresses in the arguments. It must be one line of ASCII, of a size
// that what was given explains.
#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <string>

#include "base/check.h"
#include "cli/event_line.h"
#include "cli/event_text.h"
#include "proto/clock_events.h"
#include "proto/fuzz/fuzz_target.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

// Zeroes when there is no more.
class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  T Take() {
    T value{};
    const std::size_t size = std::min(sizeof value, bytes_.size());
    if (size > 0) {
      std::memcpy(&value, bytes_.data(), size);
    }
    bytes_ = bytes_.subspan(size);
    return value;
  }
  unsigned Below(unsigned limit) { return Take<std::uint8_t>() % limit; }
  std::span<const std::byte> TakeBytes(std::size_t size) {
    const auto bytes = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(bytes.size());
    return bytes;
  }

 private:
  std::span<const std::byte> bytes_;
};

std::uint64_t TakeNumber(Input& input) {
  switch (input.Below(5)) {
    case 0:
      return input.Take<std::uint8_t>();
    case 1:
      return input.Take<std::uint32_t>();
    case 2:
      return input.Take<std::uint64_t>();
    case 3:
      return static_cast<std::uint64_t>(std::int64_t{input.Take<std::int16_t>()});
    default:
      return 0x7f0000001000 + 0x100 * std::uint64_t{input.Below(8)};
  }
}

Event TakeEvent(Input& input) {
  Event event;
  event.kind = static_cast<event_kind>(input.Below(EVENT_KIND_COUNT + 1));
  event.number = input.Take<std::uint16_t>();
  event.flags = input.Take<std::uint8_t>();
  event.file = static_cast<fd_class>(input.Below(FD_CLASS_COUNT));
  event.tid = input.Take<std::uint32_t>();
  event.lsn = input.Take<std::uint64_t>();
  event.result = static_cast<std::int64_t>(TakeNumber(input));
  event.arg_count = static_cast<std::uint8_t>(input.Below(EVENT_MAX_ARGS + 1));
  for (unsigned i = 0; i < event.arg_count; ++i) {
    event.args[i] = TakeNumber(input);
  }
  for (unsigned spans = input.Below(10); spans > 0; --spans) {
    EventSpan span;
    span.address = input.Below(3) == 0 ? TakeNumber(input) : event.args[input.Below(6)];
    span.address += input.Below(2) == 0 ? 0 : 64 * std::uint64_t{input.Below(4)};
    span.flags = static_cast<std::uint16_t>(input.Below(4));
    span.bytes = input.TakeBytes(input.Below(2) == 0 ? input.Below(64) : 32 * input.Below(40));
    event.spans.push_back(span);
  }
  return event;
}

void CheckLine(const std::string& line, std::size_t most) {
  CHECK(!line.empty() && line.size() <= most);
  CHECK(std::ranges::all_of(line, [](char c) { return c >= 0x20 && c < 0x7f; }));
}

}  // namespace

// One for each syscall and each other kind, of numbers that are small more often than not.
std::vector<std::vector<std::byte>> FuzzSeeds() {
  std::vector<std::vector<std::byte>> seeds;
  const auto add = [&seeds](event_kind kind, std::uint16_t number) {
    std::mt19937_64 random(seeds.size());
    std::vector<std::byte> seed = {static_cast<std::byte>(kind), static_cast<std::byte>(number),
                                   static_cast<std::byte>(number >> 8)};
    while (seed.size() < 700) {
      seed.push_back(static_cast<std::byte>(random() % 3 == 0 ? random() : random() % 6));
    }
    seeds.push_back(std::move(seed));
  };
  for (const SyscallRow& row : SyscallTable()) {
    add(EVENT_SYSCALL, row.number);
  }
  for (unsigned kind = 0; kind <= EVENT_KIND_COUNT; ++kind) {
    for (std::uint16_t number = 0; number < 16; ++number) {
      add(static_cast<event_kind>(kind), number);
    }
  }
  return seeds;
}

}  // namespace migrate

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace migrate;
  Input input(std::as_bytes(std::span(data, size)));
  const Event event = TakeEvent(input);
  const std::size_t string_size = input.Below(70);
  const std::size_t most = 20'000 + 100 * size;
  CheckLine(EventText(event, string_size), most);
  CheckLine(EventLine(event, string_size), most);
  CheckLine(EventJsonLine(event, string_size), 4 * most);
  if (const auto readings = ReadingsOf(event)) {
    CHECK(readings->size() <= CLOCK_RING_ENTRIES);
  }
  return 0;
}
