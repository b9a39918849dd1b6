// The plan of a capture for any row, any arguments and any memory: it stays within its limits, and
// says which spans can be copied. An input is a Head and the bytes of the task's memory.
#include <algorithm>
#include <cstring>
#include <span>

#include "base/check.h"
#include "proto/capture_plan.h"
#include "proto/fuzz/fuzz_target.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

constexpr std::uint64_t kMemoryAt = 0x10000;
constexpr std::uint64_t kEndlessEnd = std::uint64_t{1} << 40;

enum Mode : std::uint8_t {
  kOwnCopies = 1,
  kInputBytes = 2,
  kEndless = 4,  // the memory is there over and over: everything is readable
  kOwnRow = 8,   // the row is from the input too, at the start of the memory
};

struct Head {
  std::uint16_t number;
  std::uint8_t file;
  std::uint8_t mode;
  std::uint32_t padding;
  std::int64_t result;
  std::array<std::uint64_t, EVENT_MAX_ARGS> args;
};
static_assert(sizeof(Head) == 64);

class Memory {
 public:
  Memory(std::span<const std::byte> bytes, bool endless) : bytes_(bytes), endless_(endless) {}

  bool Read(std::uint64_t address, std::span<std::byte> to) const {
    const std::uint64_t end = endless_ ? kEndlessEnd : kMemoryAt + bytes_.size();
    if (bytes_.empty() || address < kMemoryAt || address > end || to.size() > end - address) {
      return false;
    }
    // One round, then what there is twice as often each time: a large span is many pages.
    const std::size_t at = (address - kMemoryAt) % bytes_.size();
    std::size_t done = std::min(bytes_.size() - at, to.size());
    std::memcpy(to.data(), bytes_.data() + at, done);
    const std::size_t rest = std::min(at, to.size() - done);
    std::memcpy(to.data() + done, bytes_.data(), rest);
    for (done += rest; done < to.size();) {
      const std::size_t length = std::min(done, to.size() - done);
      std::memcpy(to.data() + done, to.data(), length);
      done += length;
    }
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  bool endless_;
};

capture_row RowOf(const Head& head, std::span<const std::byte> memory) {
  static const auto rows = CaptureRows();
  capture_row row = rows[head.number % rows.size()];
  if ((head.mode & kOwnRow) != 0) {
    std::memcpy(&row, memory.data(), std::min(memory.size(), sizeof row));
    row.flags |= ROW_KNOWN;
  }
  return row;
}

void Try(const Head& head, std::span<const std::byte> bytes) {
  const Memory memory(bytes, (head.mode & kEndless) != 0);
  const MemoryReader read = [&memory](std::uint64_t address, std::span<std::byte> to) {
    return memory.Read(address, to);
  };
  const CaptureCall call = {head.number, head.args, head.result,
                            static_cast<fd_class>(head.file % FD_CLASS_COUNT)};
  const PlanOptions options = {.own_copies = (head.mode & kOwnCopies) != 0,
                               .input_bytes = (head.mode & kInputBytes) != 0};
  const CapturePlan plan = PlanCapture(RowOf(head, bytes), call, read, options);
  CHECK(plan.spans.size() <= EVENT_MAX_SPANS);
  CHECK(plan.Bytes() <= EVENT_MAX_SYSCALL_DATA);
  CHECK(plan.problem < PROBLEM_COUNT);
  if (plan.problem == PROBLEM_TOO_LARGE || plan.problem == PROBLEM_UNREADABLE) {
    CHECK(plan.spans.empty());
  }
  for (const PlannedSpan& span : plan.spans) {
    CHECK(span.address != 0 && span.length != 0);
    CHECK((span.flags & ~(EVENT_SPAN_INPUT | EVENT_SPAN_TRUNCATED)) == 0);
    std::byte last{};
    CHECK(memory.Read(span.address + span.length - 1, std::span(&last, 1)));
  }
}

std::vector<std::byte> SeedOf(const SyscallRow& row, std::uint8_t mode) {
  // Iovecs, message headers and addresses that lead back into the memory.
  std::array<std::uint64_t, 64> memory;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    memory[i] = i % 2 == 0 ? kMemoryAt + i * 4 : i % 5;
  }
  Head head{};
  head.number = row.number;
  head.file = FD_SOCKET;
  head.mode = mode;
  head.result = 3;
  for (std::size_t i = 0; i < row.arg_count; ++i) {
    const ArgKind kind = row.args[i].kind;
    const bool number = kind == ArgKind::kSize || kind == ArgKind::kInt ||
                        kind == ArgKind::kUnsigned || kind == ArgKind::kFd;
    head.args[i] = number ? 4 : kMemoryAt + i * 64;
  }
  std::vector<std::byte> seed(sizeof head + sizeof memory);
  std::memcpy(seed.data(), &head, sizeof head);
  std::memcpy(seed.data() + sizeof head, memory.data(), sizeof memory);
  return seed;
}

}  // namespace

std::vector<std::vector<std::byte>> FuzzSeeds() {
  std::vector<std::vector<std::byte>> seeds;
  for (const SyscallRow& row : SyscallTable()) {
    if (row.output_count > 0) {
      seeds.push_back(SeedOf(row, seeds.size() % 2 == 0 ? kEndless : kInputBytes));
    }
  }
  seeds.push_back(SeedOf(*FindSyscall(0), kOwnRow | kEndless | kOwnCopies));
  return seeds;
}

}  // namespace migrate

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace migrate;
  Head head;
  if (size < sizeof head) {
    return 0;
  }
  std::memcpy(&head, data, sizeof head);
  Try(head, std::as_bytes(std::span(data, size)).subspan(sizeof head));
  return 0;
}
