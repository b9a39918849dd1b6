#include "recorder/serialize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "base/file_util.h"
#include "recorder/test_container.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RtLimit : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "rt_limit_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    places_ = {.limit = root_ / "limit", .users = root_ / "users"};
    std::ofstream(places_.limit) << "950000\n";
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string Limit() { return ReadSmallFile(places_.limit).value_or("?"); }

  fs::path root_;
  RtLimitPlaces places_;
};

TEST_F(RtLimit, TheLastOneToGoPutsItBack) {
  EXPECT_TRUE(LiftRtLimit("a", places_));
  EXPECT_EQ(Limit().substr(0, 2), "-1");
  EXPECT_TRUE(LiftRtLimit("b", places_));
  EXPECT_TRUE(LiftRtLimit("a", places_));
  EXPECT_TRUE(ReturnRtLimit("a", places_));
  EXPECT_TRUE(ReturnRtLimit("a", places_));
  EXPECT_EQ(Limit().substr(0, 2), "-1");
  EXPECT_TRUE(ReturnRtLimit("b", places_));
  EXPECT_EQ(Limit().substr(0, 6), "950000");
  EXPECT_FALSE(fs::exists(places_.users));
}

TEST_F(RtLimit, NothingWasLifted) {
  EXPECT_TRUE(ReturnRtLimit("a", places_));
  EXPECT_EQ(Limit(), "950000\n");
  EXPECT_FALSE(LiftRtLimit("../a", places_));
  EXPECT_FALSE(LiftRtLimit("", places_));
}

TEST_F(RtLimit, WhatCouldNotBePutBackIsTriedAgain) {
  ASSERT_TRUE(LiftRtLimit("a", places_));
  fs::remove(places_.limit);
  EXPECT_FALSE(ReturnRtLimit("a", places_));
  std::ofstream(places_.limit) << "-1\n";
  EXPECT_TRUE(ReturnRtLimit("a", places_));
  EXPECT_EQ(Limit().substr(0, 6), "950000");
}

TEST(SerializeUndo, JsonKeepsEverything) {
  SerializeUndo undo{.container_id = "c",
                     .freezer_cgroup = "/sys/fs/cgroup/freezer/docker/c",
                     .cpu = 3,
                     .cpusets = {{"/x", "0-3"}, {"/x/y", ""}},
                     .tasks = {{.tid = 7,
                                .tgid = 6,
                                .start_time = 1ull << 60,
                                .policy = 3,
                                .flags = 1,
                                .nice = -5,
                                .priority = 2,
                                .slice = 3000000,
                                .cpus = {0, 2},
                                .timer_slack = 50000}}};
  EXPECT_EQ(SerializeUndo::FromJson(undo.ToJson()).value(), undo);
  EXPECT_FALSE(SerializeUndo::FromJson("{}"));
  EXPECT_FALSE(SerializeUndo::FromJson("{"));
}

// What the tasks of the test report, in shared memory.
struct Shared {
  std::atomic<int> ready;
  std::atomic<bool> go;
  std::atomic<int> position;
  std::atomic<int> order[64];
  std::atomic<int> born[4];
};

class Serial : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    shared_ = testing_support::MakeShared<Shared>();
  }
  void TearDown() override {
    container_.reset();
    EXPECT_NE(ReadSmallFile("/proc/sys/kernel/sched_rt_runtime_us").value().substr(0, 2), "-1");
  }

  void Start(int threads_ready, const std::function<void()>& act) {
    container_ = std::make_unique<testing_support::TestContainer>("serialize_test", act, 0);
    child_ = container_->pid();
    freezer_ = container_->freezer();
    cpuset_ = container_->cpuset();
    while (shared_->ready < threads_ready) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    options_ = {.init_pid = child_,
                .container_id = container_->id(),
                .freezer_cgroup = freezer_,
                .cpu = -1};
  }

  void ExpectSerial(int cpu) {
    const auto tids = CgroupTasks(freezer_).value();
    for (const int tid : tids) {
      const auto task = ReadTaskScheduling(tid).value();
      EXPECT_EQ(task.policy, static_cast<std::uint32_t>(SCHED_FIFO));
      EXPECT_EQ(task.priority, 1u);
      EXPECT_THAT(task.cpus, ::testing::ElementsAre(cpu));
    }
  }

  std::unique_ptr<testing_support::TestContainer> container_;
  Shared* shared_ = nullptr;
  pid_t child_ = -1;
  fs::path freezer_;
  fs::path cpuset_;
  SerializeOptions options_;
};

void WaitForEver() {
  for (;;) {
    pause();
  }
}

// Every way to be scheduled that can be told apart, one thread each.
void ManyKinds(Shared* shared) {
  const auto thread = [shared](auto&& prepare) {
    std::thread([shared, prepare] {
      prepare();
      ++shared->ready;
      WaitForEver();
    }).detach();
  };
  struct sched_param none {};
  setpriority(PRIO_PROCESS, 0, 5);
  thread([=] { sched_setscheduler(0, SCHED_BATCH, &none); });
  thread([=] { sched_setscheduler(0, SCHED_IDLE, &none); });
  thread([=] { sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none); });
  thread([] { prctl(PR_SET_TIMERSLACK, 123456); });
  thread([] {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    sched_setaffinity(0, sizeof(set), &set);
  });
  thread([] {});
  ++shared->ready;
  WaitForEver();
}

TEST_F(Serial, PutsBackExactly) {
  ASSERT_NO_FATAL_FAILURE(Start(7, [this] { ManyKinds(shared_); }));
  auto frozen = FrozenCgroup::Freeze(freezer_);
  ASSERT_TRUE(frozen) << frozen.error().message;
  const auto undo = PlanSerialize(options_);
  ASSERT_TRUE(undo) << undo.error().message;
  ASSERT_EQ(undo->tasks.size(), 7u);
  const auto done = Serialize(*undo);
  ASSERT_TRUE(done) << done.error().message;
  ExpectSerial(undo->cpu);
  EXPECT_TRUE(frozen->Thaw());
  ExpectSerial(undo->cpu);
  const auto undone = UndoSerialize(*undo);
  EXPECT_TRUE(undone) << undone.error().message;
  options_.cpu = undo->cpu;
  EXPECT_EQ(PlanSerialize(options_).value().ToJson(), undo->ToJson());
  EXPECT_TRUE(UndoSerialize(*undo)) << "twice is as good as once";
  EXPECT_EQ(PlanSerialize(options_).value().ToJson(), undo->ToJson());
}

TEST_F(Serial, AFreshProcessUndoesIt) {
  ASSERT_NO_FATAL_FAILURE(Start(7, [this] { ManyKinds(shared_); }));
  const auto undo = PlanSerialize(options_).value();
  ASSERT_TRUE(Serialize(undo));
  const std::string journal = undo.ToJson();
  const pid_t fresh = fork();
  if (fresh == 0) {
    const auto read = SerializeUndo::FromJson(journal);
    _exit(read && UndoSerialize(*read) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(fresh, &status, 0), fresh);
  EXPECT_EQ(status, 0);
  options_.cpu = undo.cpu;
  EXPECT_EQ(PlanSerialize(options_).value().ToJson(), journal);
}

TEST_F(Serial, TasksBornMeanwhile) {
  ASSERT_NO_FATAL_FAILURE(Start(1, [this] {
    setpriority(PRIO_PROCESS, 0, 7);
    ++shared_->ready;
    while (!shared_->go) {
      usleep(1000);
    }
    std::thread([this] {
      shared_->born[0] = gettid();
      WaitForEver();
    }).detach();
    if (const pid_t process = fork(); process == 0) {
      if (fork() == 0) {  // its parent ends: an orphan, whose new parent is outside
        while (!shared_->born[2]) {
          usleep(1000);
        }
        shared_->born[3] = getpid();
        WaitForEver();
      }
      shared_->born[1] = getpid();
      WaitForEver();
    } else {
      shared_->born[2] = process;
    }
    WaitForEver();
  }));
  const auto undo = PlanSerialize(options_).value();
  ASSERT_TRUE(Serialize(undo));
  shared_->go = true;
  for (const int number : {0, 1, 3}) {
    while (shared_->born[number] == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  ExpectSerial(undo.cpu);
  const int orphan_parent = shared_->born[1];
  kill(orphan_parent, SIGKILL);
  while (ReadTaskIdentity(shared_->born[3]).value().parent == orphan_parent) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_TRUE(UndoSerialize(undo));
  const auto thread = ReadTaskScheduling(shared_->born[0]).value();
  EXPECT_EQ(thread.policy, static_cast<std::uint32_t>(SCHED_OTHER));
  EXPECT_EQ(thread.nice, 7);
  EXPECT_EQ(thread.cpus, undo.tasks[0].cpus);
  EXPECT_EQ(thread.timer_slack, undo.tasks[0].timer_slack);
  const auto orphan = ReadTaskScheduling(shared_->born[3]).value();
  EXPECT_EQ(orphan.policy, static_cast<std::uint32_t>(SCHED_OTHER));
  EXPECT_EQ(orphan.nice, 0) << "nobody knows where it comes from";
  EXPECT_EQ(orphan.cpus, undo.tasks[0].cpus);
}

// What all this is for: nobody gets the CPU in the middle of a computation.
TEST_F(Serial, ComputationsAreNotInterrupted) {
  constexpr int kThreads = 4;
  ASSERT_NO_FATAL_FAILURE(Start(kThreads, [this] {
    for (int number = 0; number < kThreads; ++number) {
      std::thread([this, number] {
        ++shared_->ready;
        while (!shared_->go) {
          usleep(1000);
        }
        shared_->order[shared_->position++] = number;
        for (std::atomic<long> work = 0; work < 50'000'000; ++work) {
        }
        shared_->order[shared_->position++] = number;
        WaitForEver();
      }).detach();
    }
    WaitForEver();
  }));
  const auto undo = PlanSerialize(options_).value();
  ASSERT_TRUE(Serialize(undo));
  shared_->go = true;
  while (shared_->position < 2 * kThreads) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_TRUE(UndoSerialize(undo));
  for (int slot = 0; slot < 2 * kThreads; slot += 2) {
    EXPECT_EQ(shared_->order[slot].load(), shared_->order[slot + 1].load()) << "at " << slot;
  }
}

TEST_F(Serial, AFailureLeavesNoTrace) {
  ASSERT_NO_FATAL_FAILURE(Start(7, [this] { ManyKinds(shared_); }));
  options_.cpu = CpusOfTask(child_).value().back();
  const auto before = PlanSerialize(options_).value();
  auto undo = before;
  undo.cpu = 4095;  // no such CPU
  EXPECT_FALSE(Serialize(undo));
  EXPECT_EQ(PlanSerialize(options_).value(), before);
  options_.cpu = 4095;
  EXPECT_EQ(PlanSerialize(options_).error().reason, "CPU_OUTSIDE_CPUSET");
}

TEST_F(Serial, CpusetsBelowAndTheirTasks) {
  ASSERT_NO_FATAL_FAILURE(Start(7, [this] { ManyKinds(shared_); }));
  if (cpuset_.empty() || sysconf(_SC_NPROCESSORS_ONLN) < 2) {
    GTEST_SKIP() << "needs cpuset of cgroup v1 and two CPUs";
  }
  const fs::path below = container_->Make(cpuset_);
  ASSERT_TRUE(WriteControlFile(below / "cpuset.mems", "0"));
  ASSERT_TRUE(WriteControlFile(below / "cpuset.cpus", "0"));
  ASSERT_TRUE(WriteControlFile(below / "cgroup.procs", std::to_string(child_)));
  const auto undo = PlanSerialize({.init_pid = child_,
                                   .container_id = container_->id(),
                                   .freezer_cgroup = freezer_,
                                   .cpu = -1})
                        .value();
  ASSERT_EQ(undo.cpusets.size(), 2u);
  const auto done = Serialize(undo);
  ASSERT_TRUE(done) << done.error().message;
  ExpectSerial(undo.cpu);
  ASSERT_TRUE(UndoSerialize(undo));
  options_.cpu = undo.cpu;
  EXPECT_EQ(PlanSerialize(options_).value(), undo);
}

TEST_F(Serial, Check) {
  ASSERT_NO_FATAL_FAILURE(Start(7, [this] { ManyKinds(shared_); }));
  auto check = CheckSerialize(options_);
  EXPECT_THAT(check.blockers, IsEmpty());
  const fs::path quota = fs::path("/sys/fs/cgroup/cpu") / container_->id() / "cpu.cfs_quota_us";
  if (fs::exists(quota)) {
    EXPECT_THAT(check.notes, Not(Contains(Field(&Blocker::code, "CPU_QUOTA"))));
    ASSERT_TRUE(WriteControlFile(quota, "50000"));
    EXPECT_THAT(CheckSerialize(options_).notes, Contains(Field(&Blocker::code, "CPU_QUOTA")));
  }
  options_.cpu = 4095;
  EXPECT_THAT(CheckSerialize(options_).blockers,
              Contains(Field(&Blocker::code, "CPU_OUTSIDE_CPUSET")));
}

}  // namespace
}  // namespace migrate
