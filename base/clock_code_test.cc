#include "base/clock_code.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/vdso_image.h"

namespace migrate {
namespace {

using ClockGettime = int (*)(clockid_t, struct timespec*);
using Gettimeofday = int (*)(struct timeval*, void*);
using Time = time_t (*)(time_t*);
using Getres = int (*)(clockid_t, struct timespec*);
using Getcpu = int (*)(unsigned*, unsigned*, void*);
using Getrandom = ssize_t (*)(void*, size_t, unsigned, void*, size_t);

// Code that is patched is not the vDSO of this process itself but a relative of it: the displaced
// instructions lead back into the real one, which stays as it is.
class Region {
 public:
  Region(ClockMode mode, const VdsoImage& image, std::uint64_t vdso)
      : vdso_(vdso), image_(image) {
    const auto mappings = ReadProcMaps(getpid()).value();
    const auto anchor = FindVdso(getpid()).value().value();
    address_ = FindFreeRange(mappings, anchor, CLOCK_REGION_PAGES * CLOCK_PAGE, 1 << 30, CLOCK_PAGE);
    void* memory = mmap(reinterpret_cast<void*>(address_), CLOCK_REGION_PAGES * CLOCK_PAGE,
                        PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    EXPECT_EQ(memory, reinterpret_cast<void*>(address_));
    auto code = BuildClockCode(mode, image, vdso, address_);
    EXPECT_TRUE(code) << code.error().message;
    code_ = *code;
    std::memcpy(memory, code_.code.data(), code_.code.size());
  }
  ~Region() { munmap(reinterpret_cast<void*>(address_), CLOCK_REGION_PAGES * CLOCK_PAGE); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // Where the patched function jumps to.
  template <typename F>
  F Function(const char* name) const {
    const VdsoFunction* function = image_.Find(name);
    for (const VdsoPatch& patch : code_.patches) {
      if (patch.offset == function->offset) {
        EXPECT_EQ(patch.patched[0], std::byte{0xe9}) << name;
        std::int32_t distance = 0;
        std::memcpy(&distance, &patch.patched[1], 4);
        return reinterpret_cast<F>(vdso_ + patch.offset + 5 + distance);
      }
    }
    ADD_FAILURE() << name;
    return nullptr;
  }
  clock_ring_header& header() const {
    return *reinterpret_cast<clock_ring_header*>(address_ + CLOCK_HEADER_OFFSET);
  }
  clock_ring_entry& entry(std::uint64_t number) const {
    return reinterpret_cast<clock_ring_entry*>(
        address_ + CLOCK_ENTRIES_OFFSET)[number % CLOCK_RING_ENTRIES];
  }
  const ClockCode& code() const { return code_; }
  std::uint64_t address() const { return address_; }

 private:
  std::uint64_t vdso_;
  std::uint64_t address_ = 0;
  const VdsoImage& image_;
  ClockCode code_;
};

class Clocks : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto mapping = FindVdso(getpid());
    if (!mapping || !*mapping) {
      GTEST_SKIP() << "no vDSO here";
    }
    vdso_ = (*mapping)->start;
    image_ = OwnVdso().value();
  }
  std::uint64_t vdso_ = 0;
  VdsoImage image_;
};

TEST_F(Clocks, RecordsWhatItAnswers) {
  const Region region(ClockMode::kRecord, image_, vdso_);
  const auto clock = region.Function<ClockGettime>("clock_gettime");
  struct timespec first{}, second{};
  ASSERT_EQ(clock(CLOCK_MONOTONIC, &first), 0);
  EXPECT_EQ(region.header().head, 1u) << "the first of each round is a system call";
  for (const clockid_t id : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW,
                             CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME,
                             CLOCK_TAI}) {
    const std::uint64_t number = region.header().head;
    ASSERT_EQ(clock(id, &second), 0);
    EXPECT_EQ(region.header().head, number + 1);
    const clock_ring_entry& entry = region.entry(number);
    EXPECT_EQ(entry.sequence, number);
    EXPECT_EQ(entry.function, CLOCK_GETTIME);
    EXPECT_EQ(entry.clock, id);
    EXPECT_EQ(static_cast<int>(entry.result), 0);
    EXPECT_EQ(entry.value[0], static_cast<std::uint64_t>(second.tv_sec));
    EXPECT_EQ(entry.value[1], static_cast<std::uint64_t>(second.tv_nsec));
    struct timespec real{};
    clock_gettime(id, &real);
    const double ahead = static_cast<double>(real.tv_sec - second.tv_sec) +
                         static_cast<double>(real.tv_nsec - second.tv_nsec) / 1e9;
    EXPECT_GE(ahead, 0) << id;
    EXPECT_LT(ahead, 10) << id;
  }
}

TEST_F(Clocks, RecordsTheOtherFunctions) {
  const Region region(ClockMode::kRecord, image_, vdso_);
  region.header().head = 1;
  struct timeval now{};
  ASSERT_EQ(region.Function<Gettimeofday>("gettimeofday")(&now, nullptr), 0);
  EXPECT_EQ(region.entry(1).function, CLOCK_GETTIMEOFDAY);
  EXPECT_EQ(region.entry(1).value[0], static_cast<std::uint64_t>(now.tv_sec));
  EXPECT_EQ(region.entry(1).value[1], static_cast<std::uint64_t>(now.tv_usec));
  time_t stored = 0;
  const time_t seconds = region.Function<Time>("time")(&stored);
  EXPECT_EQ(seconds, stored);
  EXPECT_NEAR(static_cast<double>(seconds), static_cast<double>(now.tv_sec), 10);
  EXPECT_EQ(region.entry(2).function, CLOCK_TIME);
  EXPECT_EQ(region.entry(2).result, static_cast<std::uint64_t>(seconds));
  EXPECT_EQ(region.Function<Time>("time")(nullptr) / 100, seconds / 100);
  EXPECT_EQ(region.header().head, 4u);
}

TEST_F(Clocks, SomeCallsAreAlwaysSystemCalls) {
  const Region region(ClockMode::kRecord, image_, vdso_);
  region.header().head = 5;
  struct timespec time{};
  const auto clock = region.Function<ClockGettime>("clock_gettime");
  EXPECT_EQ(clock(CLOCK_PROCESS_CPUTIME_ID, &time), 0);
  EXPECT_EQ(clock(CLOCK_THREAD_CPUTIME_ID, &time), 0);
  EXPECT_EQ(clock(-7, &time), 0) << "of a process: itself";
  EXPECT_EQ(clock(1000, &time), -EINVAL);
  struct timeval now{};
  struct timezone zone{};
  const auto day = region.Function<Gettimeofday>("gettimeofday");
  EXPECT_EQ(day(&now, &zone), 0);
  EXPECT_EQ(day(nullptr, nullptr), 0);
  EXPECT_EQ(region.header().head, 5u);
}

// A whole stream, some rounds long, with a reader that drains as the header file says, and the
// same calls again with the other code, fed from what was drained.
TEST_F(Clocks, ReplayGivesTheSame) {
  constexpr int kCalls = 3 * CLOCK_RING_ENTRIES + 17;
  struct Answer {
    std::int64_t a, b;
    bool operator==(const Answer&) const = default;
  };
  const auto call = [](const Region& region, int number) {
    if (number % 5 == 4) {
      return Answer{region.Function<Time>("time")(nullptr), 0};
    }
    if (number % 3 == 0) {
      struct timeval now{};
      region.Function<Gettimeofday>("gettimeofday")(&now, nullptr);
      return Answer{now.tv_sec, now.tv_usec};
    }
    struct timespec time{};
    region.Function<ClockGettime>("clock_gettime")(number % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME,
                                                  &time);
    return Answer{time.tv_sec, time.tv_nsec};
  };
  std::vector<Answer> answers;
  std::vector<std::pair<std::uint64_t, clock_ring_entry>> drained;
  {
    const Region region(ClockMode::kRecord, image_, vdso_);
    for (int number = 0; number < kCalls; ++number) {
      const std::uint64_t before = region.header().head;
      answers.push_back(call(region, number));
      ASSERT_EQ(region.header().head, before + 1);
      if (region.entry(before).sequence == before && before % CLOCK_RING_ENTRIES != 0) {
        drained.emplace_back(before, region.entry(before));
      }
    }
  }
  EXPECT_EQ(drained.size(), static_cast<std::size_t>(kCalls - kCalls / CLOCK_RING_ENTRIES - 1));
  const Region region(ClockMode::kReplay, image_, vdso_);
  auto next = drained.begin();
  for (int number = 0; number < kCalls; ++number) {
    const bool is_call = number % CLOCK_RING_ENTRIES == 0;
    if (!is_call) {
      ASSERT_EQ(next->first, static_cast<std::uint64_t>(number));
      region.entry(number) = next++->second;
    }
    region.header().limit = number + 1;
    const Answer answer = call(region, number);
    ASSERT_EQ(region.header().head, static_cast<std::uint64_t>(number) + 1);
    if (!is_call) {
      EXPECT_EQ(answer, answers[static_cast<std::size_t>(number)]) << number;
    }
  }
  // Empty: the system call, and the number stays.
  const std::uint64_t head = region.header().head;
  EXPECT_NE(call(region, 1), answers[1]);
  EXPECT_EQ(region.header().head, head);
  // An entry of another function or clock is not taken.
  region.entry(head) = drained[1].second;
  region.entry(head).function = CLOCK_GETTIME;
  region.entry(head).clock = CLOCK_BOOTTIME;
  region.header().limit = head + 1;
  call(region, 1);
  call(region, 3);
  call(region, 4);
  EXPECT_EQ(region.header().head, head);
}

TEST_F(Clocks, StubsMakeTheSystemCall) {
  const auto patches = BuildStubs(image_).value();
  EXPECT_EQ(patches.size(), image_.functions.size());
  auto* copy = static_cast<std::byte*>(mmap(nullptr, image_.bytes.size(),
                                            PROT_READ | PROT_WRITE | PROT_EXEC,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::memcpy(copy, image_.bytes.data(), image_.bytes.size());
  for (const VdsoPatch& patch : patches) {
    EXPECT_EQ(std::memcmp(copy + patch.offset, patch.original.data(), patch.original.size()), 0);
    EXPECT_EQ(patch.original.size(), patch.patched.size());
    std::memcpy(copy + patch.offset, patch.patched.data(), patch.patched.size());
  }
  const auto function = [&](const char* name) {
    return reinterpret_cast<void*>(copy + image_.Find(name)->offset);
  };
  struct timespec time{}, real{};
  clock_gettime(CLOCK_MONOTONIC, &real);
  EXPECT_EQ(reinterpret_cast<ClockGettime>(function("clock_gettime"))(CLOCK_MONOTONIC, &time), 0);
  EXPECT_GE(time.tv_sec, real.tv_sec);
  EXPECT_EQ(reinterpret_cast<ClockGettime>(function("clock_gettime"))(1000, &time), -EINVAL);
  EXPECT_EQ(reinterpret_cast<Getres>(function("clock_getres"))(CLOCK_MONOTONIC, &time), 0);
  unsigned cpu = ~0u;
  EXPECT_EQ(reinterpret_cast<Getcpu>(function("getcpu"))(&cpu, nullptr, nullptr), 0);
  EXPECT_NE(cpu, ~0u);
  if (image_.Find("getrandom")) {
    char bytes[64] = {};
    const auto get = reinterpret_cast<Getrandom>(function("getrandom"));
    EXPECT_EQ(get(bytes, sizeof(bytes), 0, nullptr, 0), 64);
    EXPECT_TRUE(std::any_of(bytes, bytes + 64, [](char each) { return each != 0; }));
    EXPECT_EQ(get(nullptr, 0, 0, bytes, ~size_t{0}), -ENOSYS) << "there is no state to keep";
  }
  munmap(copy, image_.bytes.size());
}

TEST_F(Clocks, WhereATaskGoesOn) {
  const auto stubs = BuildStubs(image_).value();
  const auto moved = [&](std::uint64_t ip) {
    return MovedInstruction(image_, stubs, vdso_, nullptr, 0, ip);
  };
  const std::uint64_t start = vdso_ + image_.Find("clock_gettime")->offset;
  EXPECT_EQ(moved(0x1000), 0x1000u);
  EXPECT_EQ(moved(start), start);
  EXPECT_EQ(moved(start + 5), start) << "the call is made again, by the original";
  ASSERT_TRUE(moved(start + 7));
  EXPECT_EQ(*reinterpret_cast<const unsigned char*>(*moved(start + 7)), 0xc3);
  EXPECT_EQ(moved(start + 20), start + 20) << "original code";

  const Region region(ClockMode::kRecord, image_, vdso_);
  const auto from_region = [&](std::uint64_t ip) {
    return MovedInstruction(image_, region.code().patches, vdso_, &region.code(),
                            region.address(), ip);
  };
  EXPECT_EQ(from_region(region.address()), std::nullopt);
  EXPECT_EQ(from_region(start + 20), std::nullopt) << "it returns into the region";
  ASSERT_EQ(region.code().calls.size(), 3u);
  for (const RegionCall& call : region.code().calls) {
    EXPECT_EQ(from_region(region.address() + call.offset), vdso_ + call.function);
    ASSERT_TRUE(from_region(region.address() + call.offset + 2));
  }
}

TEST_F(Clocks, AnUnknownFunctionIsAnError) {
  image_.functions[0].name = "read_mind";
  EXPECT_EQ(BuildStubs(image_).error().reason, "VDSO_FUNCTION");
  EXPECT_EQ(BuildClockCode(ClockMode::kRecord, image_, vdso_, vdso_ + 65536).error().reason,
            "VDSO_FUNCTION");
}

TEST_F(Clocks, CodeThatCannotMoveIsAnError) {
  image_.bytes[image_.Find("clock_gettime")->offset] = std::byte{0xeb};  // jmp
  EXPECT_EQ(BuildClockCode(ClockMode::kRecord, image_, vdso_, vdso_ + 65536).error().reason,
            "VDSO_CODE");
  EXPECT_EQ(BuildClockCode(ClockMode::kRecord, image_, vdso_, vdso_ + (1ull << 32)).error().reason,
            "VDSO_CODE");
}

template <typename F>
double NanosecondsPerCall(F&& call) {
  double best = 1e9;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 100'000; ++i) {
      call();
    }
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count() / 100'000);
  }
  return best;
}

TEST_F(Clocks, IsCheaperThanASystemCall) {
  struct timespec time{};
  const double plain = NanosecondsPerCall([&] { clock_gettime(CLOCK_MONOTONIC, &time); });
  const double call =
      NanosecondsPerCall([&] { syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time); });
  double record = 0;
  {
    const Region region(ClockMode::kRecord, image_, vdso_);
    const auto clock = region.Function<ClockGettime>("clock_gettime");
    record = NanosecondsPerCall([&] { clock(CLOCK_MONOTONIC, &time); });
  }
  std::printf("ns per reading: vDSO %.1f, recorded without a system call %.1f, system call %.1f\n",
              plain, record, call);
  RecordProperty("plain_ns", static_cast<int>(plain));
  RecordProperty("record_ns", static_cast<int>(record));
  RecordProperty("call_ns", static_cast<int>(call));
  if (call > 2 * plain) {  // else this machine reads clocks by system calls anyway
    EXPECT_LT(record, call);
  }
}

}  // namespace
}  // namespace migrate
