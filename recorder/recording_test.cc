// Whole recordings of a small "container", with the log read back and held against what the
// container itself knows.
#include "recorder/recording.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <xxhash.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/clock_ring.h"
#include "proto/event_log_reader.h"
#include "recorder/control_stops.h"
#include "recorder/task_scheduling.h"
#include "recorder/test_container.h"
#include "recorder/vdso.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using testing_support::Eventually;
using testing_support::TestContainer;

constexpr int kReadings = 20'000;
struct Shared {
  std::atomic<bool> ready, go, spin;
  std::atomic<uint64_t> count, hash, done;
  std::array<timespec, kReadings> readings;
};
Shared* g_shared = nullptr;

// Waits without reading a clock.
void WaitForGo() {
  g_shared->ready = true;
  while (!g_shared->go) {
    syscall(SYS_sched_yield);
  }
}

class RecordingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    g_shared = testing_support::MakeShared<Shared>();
    std::string name = ::testing::TempDir() + "recording_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    recording_.reset();
    container_.reset();
    fs::remove_all(directory_);
    munmap(g_shared, sizeof(Shared));
  }

  void Start(const std::function<void()>& act) {
    container_ = std::make_unique<TestContainer>("recording_test", act);
    ASSERT_TRUE(Eventually([] { return g_shared->ready.load(); }));
    before_ = Scheduling();
  }
  // Policy and CPUs of every task.
  std::string Scheduling() {
    std::string text;
    const auto tids = CgroupTasks(container_->freezer()).value();
    for (const int tid : tids) {
      const auto task = ReadTaskScheduling(tid).value();
      text += std::to_string(task.policy) + "/" + std::to_string(task.priority) + "/" +
              std::to_string(task.cpus.size()) + " ";
    }
    return text;
  }

  RecordingOptions Options() {
    RecordingOptions options;
    options.epoch = "0123456789abcdef";
    options.container_id = container_->id();
    options.init_pid = container_->pid();
    options.cgroup = container_->freezer();
    options.log_path = directory_ / "events.log";
    return options;
  }
  void Record(const RecordingOptions& options) {
    auto recording = Recording::Prepare(options);
    ASSERT_TRUE(recording) << recording.error().message;
    recording_ = std::move(*recording);
    auto frozen = Recording::FreezeForCheckpoint(container_->freezer());
    ASSERT_TRUE(frozen) << frozen.error().message;
    ASSERT_TRUE(recording_->Plan());
    const auto started = recording_->Start(std::move(*frozen));
    ASSERT_TRUE(started) << started.error().message;
    g_shared->go = true;
  }
  void Finish() {
    auto frozen = recording_->Freeze();
    ASSERT_TRUE(frozen);
    const auto finished = recording_->Finish(std::move(*frozen));
    EXPECT_TRUE(finished) << finished.error().message;
  }
  // The recording has ended by itself, and all is as before.
  std::string ProblemOf() {
    EXPECT_TRUE(Eventually([&] { return !recording_->state().running; }));
    const std::string problem = recording_->state().problem;
    ExpectAsBefore();
    return problem;
  }
  void ExpectAsBefore() {
    const std::string now = Scheduling();
    for (std::size_t at = 0; at < now.size(); at += before_.size()) {  // of those born since, too
      EXPECT_EQ(now.substr(at, before_.size()), before_);
    }
    const auto patched = FindPatchedClocks(container_->pid());
    EXPECT_TRUE(patched && !*patched);
  }

  // Every event; the log must be whole.
  void ForEachEvent(const std::function<void(const Event&)>& look, bool complete = true) {
    auto file = EventLogFile::Open(directory_ / "events.log");
    ASSERT_TRUE(file) << file.error().message;
    using Status = EventLogReader::Status;
    Status status = file->Next().value();
    for (; status == Status::kEvent; status = file->Next().value()) {
      look(file->event());
    }
    EXPECT_NE(status, Status::kCorrupt) << file->reader().corruption().Text();
    if (complete) {
      EXPECT_EQ(status, Status::kEnd);
    }
  }

  fs::path directory_;
  std::unique_ptr<TestContainer> container_;
  std::unique_ptr<Recording> recording_;
  std::string before_;
};

TEST_F(RecordingTest, EveryClockReadingIsInTheLogInOrder) {
  Start([] {
    WaitForGo();
    for (int i = 0; i < kReadings; ++i) {
      clock_gettime(CLOCK_MONOTONIC, &g_shared->readings[i]);
      if (i % 7 == 0) {
        syscall(SYS_getppid);
      }
    }
    g_shared->done = 1;
  });
  Record(Options());
  ASSERT_TRUE(Eventually([] { return g_shared->done == 1; }));
  Finish();
  ExpectAsBefore();
  EXPECT_EQ(recording_->state().problem, "");
  EXPECT_GT(recording_->state().clock_readings, 19'000u);
  std::vector<timespec> logged(kReadings);
  // Number 0 of each round is a system call.
  std::size_t rounds = 0;
  std::size_t found = 0;
  const auto add = [&](uint64_t number, const void* bytes) {
    ASSERT_LT(number, logged.size());
    memcpy(&logged[number], bytes, sizeof(timespec));
    ++found;
  };
  std::vector<uint16_t> marks;
  ForEachEvent([&](const Event& event) {
    if (event.kind == EVENT_MARK) {
      marks.push_back(event.number);
    } else if (event.kind == EVENT_SYSCALL && event.number == SYS_clock_gettime) {
      add(rounds++ * CLOCK_RING_ENTRIES, event.spans.at(0).bytes.data());
    } else if (event.kind == EVENT_CLOCKS) {
      uint64_t number = event.args[0];
      for (const EventSpan& span : event.spans) {
        for (std::size_t at = 0; at < span.bytes.size(); at += sizeof(clock_ring_entry), ++number) {
          clock_ring_entry entry;
          memcpy(&entry, span.bytes.data() + at, sizeof(entry));
          if (number % CLOCK_RING_ENTRIES != 0) {
            ASSERT_EQ(entry.sequence, static_cast<uint32_t>(number));
            ASSERT_EQ(entry.function, CLOCK_GETTIME);
            add(number, entry.value);
          }
        }
      }
      EXPECT_EQ(number, event.args[0] + event.args[1]);
    }
  });
  EXPECT_THAT(marks, ::testing::ElementsAre(MARK_START, MARK_CLOCKS, MARK_END));
  ASSERT_EQ(found, static_cast<std::size_t>(kReadings));
  for (int i = 0; i < kReadings; ++i) {
    ASSERT_EQ(memcmp(&logged[i], &g_shared->readings[i], sizeof(timespec)), 0) << "reading " << i;
  }
}

TEST_F(RecordingTest, LargeOutputsAreWhole) {
  Start([] {
    static std::array<char, 3 << 20> bytes;
    WaitForGo();
    getrandom(bytes.data(), bytes.size(), 0);
    g_shared->hash = XXH3_64bits(bytes.data(), bytes.size());
    g_shared->done = 1;
  });
  Record(Options());
  ASSERT_TRUE(Eventually([] { return g_shared->done == 1; }));
  Finish();
  uint64_t hash = 0;
  ForEachEvent([&](const Event& event) {
    if (event.kind == EVENT_SYSCALL && event.number == SYS_getrandom) {
      ASSERT_EQ(event.spans.size(), 1u);
      hash = XXH3_64bits(event.spans[0].bytes.data(), event.spans[0].bytes.size());
    }
  });
  EXPECT_EQ(hash, g_shared->hash);
}

TEST_F(RecordingTest, AFullRingEndsItAndSaysSo) {
  Start([] {
    static std::array<char, 1 << 20> bytes;
    WaitForGo();
    for (;;) {
      getrandom(bytes.data(), bytes.size(), 0);
      g_shared->count++;
    }
  });
  auto options = Options();
  options.ring_bytes = 256 * 1024;
  Record(options);
  EXPECT_THAT(ProblemOf(), HasSubstr("ring was full"));
  const uint64_t then = g_shared->count;
  EXPECT_TRUE(Eventually([then] { return g_shared->count > then + 3; }));
  ForEachEvent([](const Event&) {}, /*complete=*/false);
}

TEST_F(RecordingTest, ATaskThatSpinsWhileOthersWaitEndsIt) {
  Start([] {
    std::thread([] {
      for (;;) {
        while (g_shared->spin) {
        }
        usleep(1000);
      }
    }).detach();
    WaitForGo();
    usleep(20'000);
    g_shared->spin = true;  // the other one cannot be stopped but by this one, which has no CPU
    usleep(20'000);
    g_shared->spin = false;
    g_shared->done = 1;
  });
  Record(Options());
  EXPECT_THAT(ProblemOf(), HasSubstr("computed without a system call"));
  EXPECT_TRUE(Eventually([] { return g_shared->done == 1; }));
}

TEST_F(RecordingTest, TasksThatNeverWaitTakeTurnsBetweenSystemCalls) {
  Start([] {
    WaitForGo();
    for (int child = 0; child < 2; ++child) {
      if (fork() == 0) {
        for (;;) {
          syscall(SYS_getppid);
          (child == 0 ? g_shared->count : g_shared->hash)++;
        }
      }
    }
    for (;;) {
      pause();
    }
  });
  Record(Options());
  EXPECT_TRUE(Eventually([] { return g_shared->count > 1000 && g_shared->hash > 1000; }));
  for (int turn = 0; turn < 3; ++turn) {  // again and again
    const uint64_t one = g_shared->count;
    const uint64_t other = g_shared->hash;
    EXPECT_TRUE(Eventually([&] { return g_shared->count > one && g_shared->hash > other; }));
  }
  EXPECT_EQ(recording_->state().problem, "");
  Finish();
  ExpectAsBefore();
  const uint64_t one = g_shared->count;  // nobody is left stopped
  const uint64_t other = g_shared->hash;
  EXPECT_TRUE(Eventually([&] { return g_shared->count > one && g_shared->hash > other; }));
}

TEST_F(RecordingTest, WhatCannotBeReplayedEndsIt) {
  Start([] {
    WaitForGo();
    syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    g_shared->done = 1;
  });
  Record(Options());
  EXPECT_THAT(ProblemOf(), HasSubstr("called userfaultfd, which cannot be replayed"));
  EXPECT_TRUE(Eventually([] { return g_shared->done == 1; }));
}

TEST_F(RecordingTest, AContainerThatEndsMeanwhile) {
  Start([] {
    WaitForGo();
    g_shared->done = 1;
  });
  Record(Options());
  ASSERT_TRUE(Eventually([] { return g_shared->done == 1; }));
  container_->Kill();
  auto frozen = recording_->Freeze();
  static_cast<void>(recording_->Finish(frozen ? std::move(*frozen) : FrozenCgroup::None()));
  EXPECT_FALSE(recording_->state().running);
  bool exited = false;
  ForEachEvent([&](const Event& event) { exited |= event.kind == EVENT_TASK_EXIT; });
  EXPECT_TRUE(exited);
}

TEST_F(RecordingTest, DroppedInTheMiddle) {
  Start([] {
    WaitForGo();
    for (;;) {
      timespec now{};
      clock_gettime(CLOCK_REALTIME, &now);
      g_shared->count++;
    }
  });
  Record(Options());
  EXPECT_TRUE(Eventually([] { return g_shared->count > 1000; }));
  recording_.reset();
  ExpectAsBefore();
  const uint64_t then = g_shared->count;
  EXPECT_TRUE(Eventually([then] { return g_shared->count > then + 1000; }));
}

}  // namespace
}  // namespace migrate
