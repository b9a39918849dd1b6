#include "proto/capture_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>

#include "proto/syscall_table.h"

namespace migrate {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBad = 0xdead0000;  // no memory

using Spans = std::vector<PlannedSpan>;

// Pages that are there once something has been put into them.
class FakeMemory {
 public:
  template <typename T>
  FakeMemory& Put(uint64_t address, const T& value) {
    return PutBytes(address, std::as_bytes(std::span(&value, 1)));
  }
  FakeMemory& PutText(uint64_t address, std::string_view text) {
    return PutBytes(address, std::as_bytes(std::span(text)));
  }
  FakeMemory& Map(uint64_t address, uint64_t size) {
    for (uint64_t page = address / kPage; page <= (address + size - 1) / kPage; ++page) {
      pages_[page];
    }
    return *this;
  }

  bool Read(uint64_t address, std::span<std::byte> to) const {
    for (size_t i = 0; i < to.size(); ++i) {
      const auto page = pages_.find((address + i) / kPage);
      if (page == pages_.end()) {
        return false;
      }
      to[i] = page->second[(address + i) % kPage];
    }
    return true;
  }
  MemoryReader reader() const {
    return [this](uint64_t address, std::span<std::byte> to) { return Read(address, to); };
  }

 private:
  FakeMemory& PutBytes(uint64_t address, std::span<const std::byte> bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      pages_[(address + i) / kPage][(address + i) % kPage] = bytes[i];
    }
    return *this;
  }

  std::map<uint64_t, std::array<std::byte, kPage>> pages_;
};

struct Iovec {
  uint64_t base, length;
};
struct Msghdr {
  uint64_t name;
  uint32_t name_length, padding;
  uint64_t iov, iov_length, control, control_length;
  uint64_t flags;
};
struct Mmsghdr {
  Msghdr header;
  uint64_t length;
};

CapturePlan Plan(const FakeMemory& memory, std::string_view name,
                 const std::array<uint64_t, EVENT_MAX_ARGS>& args, int64_t result,
                 fd_class file = FD_NONE, PlanOptions options = {}) {
  const SyscallRow* row = FindSyscall(name);
  EXPECT_NE(row, nullptr) << name;
  static const auto rows = CaptureRows();
  return PlanCapture(rows[row->number], {row->number, args, result, file}, memory.reader(),
                     options);
}

// One output, not of the table.
CapturePlan PlanOutput(const FakeMemory& memory, const capture_output& output,
                       const std::array<uint64_t, EVENT_MAX_ARGS>& args, int64_t result) {
  capture_row row{};
  row.flags = ROW_KNOWN;
  row.arg_count = EVENT_MAX_ARGS;
  row.fd_arg = 255;
  row.output_count = 1;
  row.outputs[0] = output;
  return PlanCapture(row, {0, args, result, FD_NONE}, memory.reader());
}

TEST(CapturePlan, LengthsOfOneSpan) {
  FakeMemory memory;
  memory.Map(0x1000, 0x10000).Put(0x8000, uint64_t{40});
  struct Case {
    uint8_t kind;
    uint32_t size;
    uint64_t other;
    int64_t result;
    uint32_t length;
  };
  const Case cases[] = {
      {OUT_FIXED, 144, 0, 0, 144},
      {OUT_RESULT, 12, 0, 3, 36},
      {OUT_RESULT, 1, 0, 0, 0},
      {OUT_RESULT_CAPPED, 4, 2, 5, 8},
      {OUT_RESULT_CAPPED, 4, 5, 2, 8},
      {OUT_ARG, 8, 3, 0, 24},
      {OUT_POINTEE32, 128, 0x8000, 0, 40},
      {OUT_POINTEE32, 16, 0x8000, 0, 16},
      {OUT_POINTEE32, 16, kBad, 0, 0},
      {OUT_POINTEE64, 128, 0x8000, 0, 40},
      {OUT_POINTEE64, 16, kBad, 0, 0},
      {OUT_FD_SET, 0, 1, 0, 8},
      {OUT_FD_SET, 0, 64, 0, 8},
      {OUT_FD_SET, 0, 65, 0, 16},
      {OUT_PAGES, 0, 1, 0, 1},
      {OUT_PAGES, 0, 4097, 0, 2},
      {OUT_RESULT_PLUS, 8, 0, 5, 13},
      {OUT_NONE, 8, 8, 8, 0},
      {OUT_KIND_COUNT, 8, 8, 8, 0},
  };
  for (const Case& c : cases) {
    const capture_output output = {c.kind, 0, 1, WHEN_SUCCESS, c.size};
    const CapturePlan plan = PlanOutput(memory, output, {0x1000, c.other}, c.result);
    EXPECT_EQ(plan.problem, PROBLEM_NONE) << int{c.kind};
    EXPECT_EQ(plan.spans, c.length == 0 ? Spans{} : (Spans{{0x1000, c.length, 0}}))
        << int{c.kind} << " " << c.other;
  }
}

TEST(CapturePlan, When) {
  FakeMemory memory;
  memory.Map(0x1000, 8);
  const auto spans = [&](uint8_t when, int64_t result) {
    return PlanOutput(memory, {OUT_FIXED, 0, 0, when, 8}, {0x1000}, result).spans.size();
  };
  EXPECT_EQ(spans(WHEN_SUCCESS, 0), 1u);
  EXPECT_EQ(spans(WHEN_SUCCESS, -EINTR), 0u);
  EXPECT_EQ(spans(WHEN_POSITIVE, 0), 0u);
  EXPECT_EQ(spans(WHEN_POSITIVE, 1), 1u);
  EXPECT_EQ(spans(WHEN_ALWAYS, -EINVAL), 1u);
  EXPECT_EQ(spans(WHEN_INTERRUPTED, 0), 0u);
  EXPECT_EQ(spans(WHEN_INTERRUPTED, -EINVAL), 0u);
  EXPECT_EQ(spans(WHEN_INTERRUPTED, -EINTR), 1u);
  EXPECT_EQ(spans(WHEN_INTERRUPTED, -516), 1u);
  EXPECT_EQ(spans(WHEN_INTERRUPTED, -517), 0u);
}

TEST(CapturePlan, IovecsAreFilledInOrder) {
  FakeMemory memory;
  memory.Map(0x10000, 0x1000);
  memory.Put(0x1000, std::array{Iovec{0x10000, 10}, Iovec{0x10100, 0}, Iovec{0x10200, 10},
                                Iovec{0x10300, 10}});
  EXPECT_THAT(Plan(memory, "readv", {3, 0x1000, 4}, 15, FD_SOCKET).spans,
              ElementsAre(PlannedSpan{0x10000, 10}, PlannedSpan{0x10200, 5}));
  // A count that is not that of the vector, which the kernel would not have taken.
  EXPECT_THAT(Plan(memory, "readv", {3, 0x1000, 1}, 15, FD_SOCKET).spans,
              ElementsAre(PlannedSpan{0x10000, 10}));
  EXPECT_EQ(Plan(memory, "readv", {3, kBad, 4}, 15, FD_SOCKET).problem, PROBLEM_UNREADABLE);
  EXPECT_EQ(Plan(memory, "readv", {3, kBad, 4}, 15, FD_SOCKET).detail, kBad);
  EXPECT_THAT(Plan(memory, "readv", {3, kBad, 4}, 0, FD_SOCKET).spans, IsEmpty());
}

TEST(CapturePlan, VectorsWithoutEndAreBounded) {
  // An iovec that describes itself, over and over.
  FakeMemory memory;
  std::array<Iovec, 2000> loop;
  loop.fill({0x1000, 16});
  memory.Put(0x1000, loop);
  EXPECT_EQ(Plan(memory, "readv", {3, 0x1000, 64}, 1 << 20, FD_SOCKET).spans.size(), 64u);
  EXPECT_EQ(Plan(memory, "readv", {3, 0x1000, 65}, 1 << 20, FD_SOCKET).problem, PROBLEM_TOO_LARGE);
  EXPECT_EQ(Plan(memory, "readv", {3, 0x1000, ~0ull}, 1 << 20, FD_SOCKET).problem,
            PROBLEM_TOO_LARGE);
  // 1024 entries are looked at, whatever the count.
  loop.fill({0x1000, 0});
  loop.back().length = 16;
  memory.Put(0x1000, loop);
  EXPECT_THAT(Plan(memory, "readv", {3, 0x1000, 2000}, 16, FD_SOCKET).spans, IsEmpty());
}

TEST(CapturePlan, Message) {
  FakeMemory memory;
  memory.Map(0x10000, 0x3000);
  memory.Put(0x1000, Msghdr{0x10000, 16, 0, 0x2000, 1, 0x11000, 32, 0});
  memory.Put(0x2000, Iovec{0x12000, 100});
  EXPECT_THAT(Plan(memory, "recvmsg", {3, 0x1000}, 5, FD_SOCKET).spans,
              ElementsAre(PlannedSpan{0x1000, 56}, PlannedSpan{0x10000, 16},
                          PlannedSpan{0x11000, 32}, PlannedSpan{0x12000, 5}));
  // Nothing but the header; and a result that is longer than the buffer (MSG_TRUNC).
  EXPECT_EQ(Plan(memory, "recvmsg", {3, 0x1000}, 0, FD_SOCKET).spans.size(), 3u);
  EXPECT_EQ(Plan(memory, "recvmsg", {3, 0x1000}, 5000, FD_SOCKET).spans.back(),
            (PlannedSpan{0x12000, 100}));
  EXPECT_THAT(Plan(memory, "recvmsg", {3, 0x1000}, -EAGAIN, FD_SOCKET).spans, IsEmpty());

  const CapturePlan bad = Plan(memory, "recvmsg", {3, kBad}, 5, FD_SOCKET);
  EXPECT_EQ(bad.problem, PROBLEM_UNREADABLE);
  EXPECT_EQ(bad.detail, kBad);
  memory.Put(0x1000, Msghdr{0x10000, ~0u, 0, 0x2000, ~0ull, 0, ~0ull, 0});
  EXPECT_EQ(Plan(memory, "recvmsg", {3, 0x1000}, 5, FD_SOCKET).spans[1],
            (PlannedSpan{0x10000, 128}));
  memory.Put(0x1000, Msghdr{0, 0, 0, 0, 0, 0x11000, ~0ull, 0});
  EXPECT_EQ(Plan(memory, "recvmsg", {3, 0x1000}, 5, FD_SOCKET).problem, PROBLEM_TOO_LARGE);
}

TEST(CapturePlan, Messages) {
  FakeMemory memory;
  memory.Map(0x10000, 0x1000).Put(0x2000, Iovec{0x10000, 100});
  std::array<Mmsghdr, 64> messages{};
  for (auto& message : messages) {
    message = {{0x10100, 16, 0, 0x2000, 1, 0, 0, 0}, 7};
  }
  memory.Put(0x1000, messages);
  const CapturePlan two = Plan(memory, "recvmmsg", {3, 0x1000, 64, 0, 0x10200}, 2, FD_SOCKET);
  EXPECT_THAT(two.spans, ElementsAre(PlannedSpan{0x1000, 64}, PlannedSpan{0x10100, 16},
                                     PlannedSpan{0x10000, 7}, PlannedSpan{0x1040, 64},
                                     PlannedSpan{0x10100, 16}, PlannedSpan{0x10000, 7},
                                     PlannedSpan{0x10200, 16}));
  EXPECT_EQ(Plan(memory, "recvmmsg", {3, 0x1000, 64}, 21, FD_SOCKET).spans.size(), 63u);
  EXPECT_EQ(Plan(memory, "recvmmsg", {3, 0x1000, 64}, 22, FD_SOCKET).problem, PROBLEM_TOO_LARGE);
  EXPECT_EQ(Plan(memory, "recvmmsg", {3, kBad, 64}, 1, FD_SOCKET).problem, PROBLEM_UNREADABLE);
}

TEST(CapturePlan, Commands) {
  FakeMemory memory;
  memory.Map(0x1000, 0x4000);
  struct Case {
    std::string_view call;
    std::array<uint64_t, EVENT_MAX_ARGS> args;
    uint32_t length;
  };
  const Case cases[] = {
      {"ioctl", {0, 0x5401, 0x1000}, 36},              // TCGETS
      {"ioctl", {0, 0xffffffff00005401, 0x1000}, 36},  // a command is an int
      {"ioctl", {0, 0x80087601, 0x1000}, 4},           // FS_IOC_GETVERSION lies
      {"ioctl", {0, 0x80104545, 0x1000}, 16},          // not listed, encoded
      {"ioctl", {0, 0x40104545, 0x1000}, 0},           // the kernel only reads
      {"ioctl", {0, 0x80104545, 0}, 0},                //
      {"fcntl", {0, 5, 0x1000}, 32},                   // F_GETLK
      {"fcntl", {0, 0x80104545, 0x1000}, 0},           // nothing is encoded here
      {"prctl", {16, 0x1000}, 16},                     // PR_GET_NAME
      {"prctl", {0x41555856, 0x1000, 100}, 8},         // PR_GET_AUXV: result 8
      {"prctl", {0x41555856, 0x1000, 4}, 4},           //
      {"arch_prctl", {0x1003, 0x1000}, 8},             // ARCH_GET_FS
      {"shmctl", {1, 2, 0x1000}, 112},                 // IPC_STAT
      {"shmctl", {1, 0x102, 0x1000}, 112},             // IPC_64
      {"msgctl", {1, 2, 0x1000}, 120},                 //
      {"semctl", {1, 0, 2, 0x1000}, 104},              //
      {"semctl", {1, 0, 13, 0x1000}, 0},               // GETALL
  };
  for (const Case& c : cases) {
    const CapturePlan plan = Plan(memory, c.call, c.args, 8, FD_REPLICATED);
    EXPECT_EQ(plan.problem, PROBLEM_NONE) << c.call << " " << c.args[1];
    EXPECT_EQ(plan.Bytes(), c.length) << c.call << " " << c.args[0] << " " << c.args[1];
  }
}

TEST(CapturePlan, RefusedCommands) {
  FakeMemory memory;
  memory.Map(0x1000, 0x1000);
  EXPECT_EQ(Plan(memory, "ioctl", {0, 0x8946, 0x1000}, 0, FD_SOCKET).problem,  // SIOCETHTOOL
            PROBLEM_REFUSED_SYSCALL);
  EXPECT_EQ(Plan(memory, "ioctl", {0, 0x8946, 0x1000}, -ENODEV, FD_SOCKET).problem, PROBLEM_NONE);
  // ARCH_SET_CPUID with 0 switches cpuid off: an argument that is no pointer.
  EXPECT_EQ(Plan(memory, "arch_prctl", {0x1012, 0}, 0).problem, PROBLEM_REFUSED_SYSCALL);
}

TEST(CapturePlan, SocketOptions) {
  FakeMemory memory;
  memory.Map(0x1000, 0x1000).Put(0x2000, uint32_t{12});
  // TCP_ZEROCOPY_RECEIVE, and the same numbers elsewhere.
  EXPECT_EQ(Plan(memory, "getsockopt", {3, 6, 35, 0x1000, 0x2000}, 0, FD_SOCKET).problem,
            PROBLEM_REFUSED_SYSCALL);
  EXPECT_THAT(Plan(memory, "getsockopt", {3, 1, 35, 0x1000, 0x2000}, 0, FD_SOCKET).spans,
              ElementsAre(PlannedSpan{0x1000, 12}, PlannedSpan{0x2000, 4}));
  EXPECT_EQ(Plan(memory, "setsockopt", {3, 0, 64, 0x1000, 8}, 0, FD_SOCKET).problem,
            PROBLEM_REFUSED_SYSCALL);
  EXPECT_EQ(Plan(memory, "getsockopt", {3, 0, 64, 0x1000, 0x2000}, 0, FD_SOCKET).problem,
            PROBLEM_NONE);
  EXPECT_EQ(Plan(memory, "setsockopt", {3, 6, 35, 0x1000, 8}, 0, FD_SOCKET).problem, PROBLEM_NONE);
}

TEST(CapturePlan, Ifconf) {
  FakeMemory memory;
  memory.Map(0x2000, 0x1000);
  memory.Put(0x1000, std::array<uint64_t, 2>{80, 0x2000});
  EXPECT_THAT(Plan(memory, "ioctl", {0, 0x8912, 0x1000}, 0, FD_SOCKET).spans,
              ElementsAre(PlannedSpan{0x1000, 16}, PlannedSpan{0x2000, 80}));
  EXPECT_EQ(Plan(memory, "ioctl", {0, 0x8912, kBad}, 0, FD_SOCKET).problem, PROBLEM_UNREADABLE);
  EXPECT_THAT(Plan(memory, "ioctl", {0, 0x8912, 0}, 0, FD_SOCKET).spans, IsEmpty());
}

TEST(CapturePlan, Clones) {
  FakeMemory memory;
  memory.Map(0x1000, 0x3000);
  const uint64_t thread = 0x3d0f00;  // parent tid, child cleartid, ...: as glibc makes one
  EXPECT_THAT(Plan(memory, "clone", {thread, 1, 0x1000, 0x2000}, 7).spans,
              ElementsAre(PlannedSpan{0x1000, 4}));
  EXPECT_THAT(Plan(memory, "clone", {0x1200011, 0, 0x1000, 0x2000}, 7).spans, IsEmpty());
  EXPECT_THAT(Plan(memory, "clone", {0x1200011, 0, 0x1000, 0x2000}, 0).spans,
              ElementsAre(PlannedSpan{0x2000, 4}));
  EXPECT_THAT(Plan(memory, "clone", {17}, 7).spans, IsEmpty());
  EXPECT_EQ(Plan(memory, "clone", {0x20000011}, 7).problem, PROBLEM_REFUSED_SYSCALL);

  memory.Put(0x1000, std::array<uint64_t, 4>{0x1101000, 0x2000, 0x2100, 0x2200});
  EXPECT_THAT(Plan(memory, "clone3", {0x1000, 88}, 7).spans,
              ElementsAre(PlannedSpan{0x2000, 4}, PlannedSpan{0x2200, 4}));
  EXPECT_THAT(Plan(memory, "clone3", {0x1000, 88}, 0).spans, ElementsAre(PlannedSpan{0x2100, 4}));
  memory.Put(0x1000, uint64_t{0x80});  // CLONE_NEWTIME
  EXPECT_EQ(Plan(memory, "clone3", {0x1000, 88}, 7).problem, PROBLEM_REFUSED_SYSCALL);
  EXPECT_EQ(Plan(memory, "clone3", {kBad, 88}, 7).problem, PROBLEM_UNREADABLE);
}

TEST(CapturePlan, Futexes) {
  FakeMemory memory;
  memory.Map(0x1000, 0x2000);
  const auto plan = [&](uint64_t operation, int64_t result) {
    return Plan(memory, "futex", {0x1000, operation, 0, 0, 0x2000}, result).spans;
  };
  EXPECT_THAT(plan(0, 0), IsEmpty());
  EXPECT_THAT(plan(5 | 128, 0), ElementsAre(PlannedSpan{0x2000, 4}));
  EXPECT_THAT(plan(6, 0), ElementsAre(PlannedSpan{0x1000, 4}));
  EXPECT_THAT(plan(13 | 256, -ETIMEDOUT), ElementsAre(PlannedSpan{0x1000, 4}));
  EXPECT_THAT(plan(12, 0), ElementsAre(PlannedSpan{0x1000, 4}, PlannedSpan{0x2000, 4}));
  EXPECT_EQ(Plan(memory, "futex", {kBad, 6}, -EFAULT).problem, PROBLEM_NONE);
}

TEST(CapturePlan, Paths) {
  FakeMemory memory;
  memory.PutText(0x1000, "/etc/passwd");
  EXPECT_THAT(Plan(memory, "openat", {3, 0x1000}, 4).spans,
              ElementsAre(PlannedSpan{0x1000, 12, EVENT_SPAN_INPUT}));
  EXPECT_EQ(Plan(memory, "openat", {3, 0x1000}, -ENOENT).spans.size(), 1u);
  // Right before a page that is not there, and into one.
  memory.PutText(0x1ffb, std::string_view("/bin\0", 5));
  EXPECT_THAT(Plan(memory, "openat", {3, 0x1ffb}, 4).spans,
              ElementsAre(PlannedSpan{0x1ffb, 5, EVENT_SPAN_INPUT}));
  memory.PutText(0x1ffb, "/bin/");
  EXPECT_THAT(Plan(memory, "openat", {3, 0x1ffb}, -EFAULT).spans, IsEmpty());
  EXPECT_EQ(Plan(memory, "openat", {3, kBad}, -EFAULT).problem, PROBLEM_NONE);
  memory.PutText(0x5f80, std::string(300, 'x'));
  EXPECT_THAT(
      Plan(memory, "openat", {3, 0x5f80}, 4).spans,
      ElementsAre(PlannedSpan{0x5f80, CAPTURE_MAX_PATH, EVENT_SPAN_INPUT | EVENT_SPAN_TRUNCATED}));
}

TEST(CapturePlan, InputBytes) {
  FakeMemory memory;
  memory.Map(0x1000, 0x1000);
  EXPECT_THAT(Plan(memory, "write", {1, 0x1000, 100}, 100, FD_SOCKET).spans, IsEmpty());
  EXPECT_THAT(Plan(memory, "write", {1, 0x1000, 100}, 100, FD_SOCKET, {.input_bytes = true}).spans,
              ElementsAre(PlannedSpan{0x1000, 64, EVENT_SPAN_INPUT | EVENT_SPAN_TRUNCATED}));
  EXPECT_THAT(Plan(memory, "connect", {1, 0x1000, 16}, -EINPROGRESS, FD_SOCKET).spans,
              ElementsAre(PlannedSpan{0x1000, 16, EVENT_SPAN_INPUT}));
}

TEST(CapturePlan, AFailedCallWithABadAddressIsNoProblem) {
  FakeMemory memory;
  memory.Map(0x1000, 0x1000);
  EXPECT_EQ(Plan(memory, "connect", {1, kBad, 16}, -EFAULT, FD_SOCKET).problem, PROBLEM_NONE);
  EXPECT_EQ(Plan(memory, "poll", {kBad, 1}, -EFAULT).problem, PROBLEM_NONE);
  EXPECT_EQ(Plan(memory, "poll", {0x1000, 100'000'000}, -EINVAL).problem, PROBLEM_NONE);
  EXPECT_EQ(Plan(memory, "poll", {0x1000, 1}, -EINTR).spans.size(), 1u);
  EXPECT_EQ(Plan(memory, "poll", {kBad, 1}, 0).problem, PROBLEM_UNREADABLE);
}

TEST(CapturePlan, OwnCopiesAreLeftOut) {
  FakeMemory memory;
  memory.Map(0x1000, 0x1000);
  EXPECT_EQ(Plan(memory, "read", {3, 0x1000, 100}, 100, FD_SOCKET).Bytes(), 100u);
  EXPECT_EQ(Plan(memory, "read", {3, 0x1000, 100}, 100, FD_REPLICATED).Bytes(), 0u);
  EXPECT_EQ(
      Plan(memory, "read", {3, 0x1000, 100}, 100, FD_REPLICATED, {.own_copies = true}).Bytes(),
      100u);
}

TEST(CapturePlan, Limits) {
  constexpr uint64_t kMost = EVENT_MAX_SYSCALL_DATA;
  FakeMemory memory;
  memory.Map(0x10000000, kMost + kPage);
  const auto read = [&memory](uint64_t size) {
    return Plan(memory, "read", {3, 0x10000000, size}, static_cast<int64_t>(size), FD_SOCKET);
  };
  EXPECT_EQ(read(kMost).Bytes(), kMost);
  EXPECT_EQ(read(kMost + 1).problem, PROBLEM_TOO_LARGE);
  EXPECT_EQ(read(kMost + 1).detail, kMost + 1);
  EXPECT_THAT(read(kMost + 1).spans, IsEmpty());
  EXPECT_EQ(read(INT64_MAX).problem, PROBLEM_TOO_LARGE);
  // The piece of a large span that cannot be read.
  const CapturePlan torn = Plan(memory, "read", {3, 0x10000000 + kMost, 0x10000}, 0x10000, FD_TTY);
  EXPECT_EQ(torn.problem, PROBLEM_UNREADABLE);
  EXPECT_EQ(torn.detail, 0x10000000 + kMost);
  // Up to the last address and beyond.
  EXPECT_EQ(Plan(memory, "read", {3, ~0ull, 100}, 100, FD_SOCKET).problem, PROBLEM_UNREADABLE);
}

TEST(CapturePlan, WhatEndsTheRecording) {
  const FakeMemory memory;
  EXPECT_EQ(Plan(memory, "ptrace", {}, 0).problem, PROBLEM_REFUSED_SYSCALL);
  EXPECT_EQ(Plan(memory, "ptrace", {}, -EPERM).problem, PROBLEM_NONE);
  EXPECT_EQ(Plan(memory, "sched_setaffinity", {}, 0).problem, PROBLEM_SCHEDULING);
  const CapturePlan device = Plan(memory, "write", {3}, 1, FD_DEVICE);
  EXPECT_EQ(device.problem, PROBLEM_REFUSED_FILE);
  EXPECT_EQ(device.detail, uint64_t{FD_DEVICE});
  EXPECT_EQ(Plan(memory, "mmap", {0, 1, 3, 1, 3}, 0x1000, FD_DEVICE).problem, PROBLEM_REFUSED_FILE);
  // Without a file, whatever stands for it.
  EXPECT_EQ(Plan(memory, "mmap", {0, 1, 3, 0x22, 3}, 0x1000, FD_DEVICE).problem, PROBLEM_NONE);
  EXPECT_EQ(PlanCapture({}, {}, memory.reader()).problem, PROBLEM_UNKNOWN_SYSCALL);
}

}  // namespace
}  // namespace migrate
