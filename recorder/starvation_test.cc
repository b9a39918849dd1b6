#include "recorder/starvation.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "recorder/serialize.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

struct Shared {
  std::atomic<int> ready;
  std::atomic<int> spinner;
  std::atomic<bool> spin;
  std::atomic<bool> with_syscalls;
  std::atomic<bool> block;
  std::atomic<std::uint64_t> events;
};

// Two threads under SCHED_FIFO on one CPU: one works in pieces of 1 ms until it is told to spin, the
// other one wants the CPU every 2 ms. The number of pieces stands for the events of a recording.
class StarvationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || sysconf(_SC_NPROCESSORS_ONLN) < 2) {
      GTEST_SKIP() << "needs root and two CPUs";
    }
    shared_ = new (mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared();
    const auto own = FindFreezerCgroup(getpid());
    cgroup_ = (own ? *own : fs::path("/sys/fs/cgroup/freezer")) /
              ("migrate_starvation_" + std::to_string(getpid()));
    ASSERT_TRUE(fs::create_directory(cgroup_));
    child_ = fork();
    if (child_ == 0) {
      RunTasks();
    }
    ASSERT_TRUE(WriteControlFile(cgroup_ / "cgroup.procs", std::to_string(child_)));
    while (shared_->ready < 2) {
      std::this_thread::sleep_for(1ms);
    }
    // Affinities only: without a cpuset of its own it is in that of this process.
    undo_ = PlanSerialize({.init_pid = child_,
                           .container_id = cgroup_.filename(),
                           .freezer_cgroup = cgroup_,
                           .cpu = -1})
                .value();
    undo_.cpusets.clear();
    const auto done = Serialize(undo_);
    ASSERT_TRUE(done) << done.error().message;
  }
  void TearDown() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
      EXPECT_TRUE(UndoSerialize(undo_));
    }
    for (int tries = 0; rmdir(cgroup_.c_str()) != 0 && errno == EBUSY && tries < 500; ++tries) {
      std::this_thread::sleep_for(10ms);
    }
  }

  [[noreturn]] void RunTasks() {
    std::thread([this] {
      shared_->spinner = gettid();
      ++shared_->ready;
      while (true) {
        for (std::atomic<int> work = 0; work < 100'000; ++work) {
        }
        if (!shared_->spin) {
          ++shared_->events;
          usleep(1000);
        }
        while (shared_->spin) {
          if (shared_->with_syscalls) {
            syscall(SYS_getppid);
            ++shared_->events;
          }
        }
      }
    }).detach();
    ++shared_->ready;
    for (;;) {
      usleep(2000);
      while (shared_->block) {
        pause();
      }
    }
  }

  std::unique_ptr<StarvationWatchdog> Watch(milliseconds limit, milliseconds monopoly) {
    return StarvationWatchdog::Start({.container_id = cgroup_.filename(),
                                      .init_pid = child_,
                                      .freezer_cgroup = cgroup_,
                                      .cpu = undo_.cpu,
                                      .limit = limit,
                                      .monopoly_limit = monopoly,
                                      .progress = [this] { return shared_->events.load(); },
                                      .on_starved =
                                          [this](const Starvation& found) {
                                            const std::lock_guard lock(mutex_);
                                            found_.push_back(found);
                                            changed_.notify_all();
                                          }})
        .value();
  }
  bool WaitForOne() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [this] { return !found_.empty(); });
  }

  Shared* shared_ = nullptr;
  fs::path cgroup_;
  pid_t child_ = -1;
  SerializeUndo undo_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Starvation> found_;
};

TEST_F(StarvationTest, ASpinnerIsFound) {
  const auto watchdog = Watch(20ms, 10s);
  std::this_thread::sleep_for(300ms);
  {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(found_.empty()) << "they get on well with each other";
  }
  const auto start = std::chrono::steady_clock::now();
  shared_->spin = true;
  ASSERT_TRUE(WaitForOne());
  const auto time = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
  std::printf("found after %ld ms\n", static_cast<long>(time.count()));
  EXPECT_EQ(found_[0].spinner, shared_->spinner);
  EXPECT_EQ(found_[0].waiter, child_);
  EXPECT_GE(found_[0].waited, 20ms);
  EXPECT_TRUE(found_[0].without_syscalls);
}

TEST_F(StarvationTest, NobodyWaits) {
  shared_->block = true;
  std::this_thread::sleep_for(30ms);  // until it blocks: it sleeps for 2 ms at a time
  const auto watchdog = Watch(20ms, 200ms);
  shared_->spin = true;
  std::this_thread::sleep_for(300ms);
  const std::lock_guard lock(mutex_);
  EXPECT_TRUE(found_.empty()) << "a computation that is in nobody's way";
}

TEST_F(StarvationTest, SystemCallsThatLetNobodyRun) {
  shared_->with_syscalls = true;
  const auto watchdog = Watch(1s, 100ms);
  shared_->spin = true;
  ASSERT_TRUE(WaitForOne());
  EXPECT_EQ(found_[0].spinner, shared_->spinner);
  EXPECT_FALSE(found_[0].without_syscalls);
}

TEST_F(StarvationTest, CostsLittle) {
  struct rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const auto start = std::chrono::steady_clock::now();
  {
    const auto watchdog = Watch(20ms, 500ms);
    std::this_thread::sleep_for(1s);
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  getrusage(RUSAGE_SELF, &after);
  const auto seconds = [](const struct timeval& value) {
    return static_cast<double>(value.tv_sec) + static_cast<double>(value.tv_usec) / 1e6;
  };
  const double share = (seconds(after.ru_utime) + seconds(after.ru_stime) -
                        seconds(before.ru_utime) - seconds(before.ru_stime)) /
                       time.count();
  std::printf("share of a CPU: %.2f %%\n", share * 100);
  EXPECT_LT(share, 0.1);
}

}  // namespace
}  // namespace migrate
