// A real tracer on real processes: clocks, signals, exec, births, and what is left of it all.
#include "recorder/control_stops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "base/clock_ring.h"
#include "base/file_util.h"
#include "base/proc_maps.h"
#include "base/tracee_memory.h"
#include "recorder/test_container.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing_support::Eventually;
using testing_support::TestContainer;

struct Shared {
  std::atomic<bool> ready, done;
  std::atomic<uint64_t> count, wrong, handled;
  std::atomic<int64_t> sum;
};
Shared* g_shared = nullptr;  // the processes under test share it with the test

class Stops : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    g_shared = testing_support::MakeShared<Shared>();
  }
  void TearDown() override { stops_.reset(); }

  void Start(const std::function<void()>& act) {
    container_ = std::make_unique<TestContainer>("stops_test", act);
    child_ = container_->pid();
    cgroup_ = container_->freezer();
    ASSERT_TRUE(Eventually([] { return g_shared->ready.load(); }));
  }

  ControlStopsOptions Options() {
    ControlStopsOptions options;
    options.cgroup = cgroup_;
    options.on_clocks = [this](int tgid, uint32_t, const ProcessClocks& clocks) -> Result<> {
      const std::lock_guard lock(mutex_);
      clocks_[tgid] = clocks;
      return {};
    };
    options.on_muted = [this](int tid) { muted_.push_back(tid); };
    options.on_tsc = [this](uint32_t, uint64_t reading, uint64_t, uint64_t) -> Result<> {
      const std::lock_guard lock(mutex_);
      last_tsc_ = reading;
      return {};
    };
    options.on_problem = [this](const std::string& text) {
      const std::lock_guard lock(mutex_);
      problem_ = text;
    };
    return options;
  }
  // A freeze outside of the vDSO, as a recording does it.
  FrozenCgroup Freeze() {
    for (;;) {
      auto frozen = FrozenCgroup::Freeze(cgroup_);
      EXPECT_TRUE(frozen);
      if (TasksInsideVdso(CgroupTasks(cgroup_).value()).value().empty()) {
        return std::move(*frozen);
      }
      EXPECT_TRUE(frozen->Thaw());
    }
  }
  void Begin(ControlStopsOptions options) {
    auto stops = ControlStops::Begin(std::move(options), Freeze());
    ASSERT_TRUE(stops) << stops.error().message;
    stops_ = std::move(*stops);
  }
  void End() {
    const auto ended = stops_->End(Freeze());
    EXPECT_TRUE(ended) << (ended ? "" : ended.error().message);
    stops_.reset();
  }

  void ExpectNothingLeft(pid_t pid) {
    const auto found = FindPatchedClocks(pid);
    ASSERT_TRUE(found);
    EXPECT_FALSE(*found) << "the vDSO is not as it was";
    const auto mappings = ReadProcMaps(pid).value();
    for (const Mapping& mapping : mappings) {
      EXPECT_FALSE(mapping.executable && mapping.name.empty()) << "a region is left";
    }
    const std::string status =
        ReadSmallFile("/proc/" + std::to_string(pid) + "/status").value_or("");
    EXPECT_NE(status.find("TracerPid:\t0\n"), std::string::npos);
  }
  void Send(int number) {
    sigval value{};
    value.sival_int = number;
    ASSERT_EQ(sigqueue(child_, SIGRTMIN + 1, value), 0);
  }
  bool Advances() {
    const uint64_t then = g_shared->count;
    return Eventually([then] { return g_shared->count > then + 10; });
  }
  std::string problem() {
    const std::lock_guard lock(mutex_);
    return problem_;
  }

  std::unique_ptr<TestContainer> container_;
  fs::path cgroup_;
  pid_t child_ = -1;
  std::unique_ptr<ControlStops> stops_;
  std::mutex mutex_;
  std::map<int, ProcessClocks> clocks_;  // guarded
  std::vector<int> muted_;
  uint64_t last_tsc_ = 0;  // guarded
  std::string problem_;    // guarded
};

void ReadClocks() {
  timespec last{};
  g_shared->ready = true;
  for (;;) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const bool back =
        now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec);
    g_shared->wrong += back || time(nullptr) < 1'600'000'000 ? 1 : 0;
    last = now;
    g_shared->count++;
  }
}

TEST_F(Stops, ClocksGoThroughTheRingAndBack) {
  Start(ReadClocks);
  for (int round = 0; round < 5; ++round) {
    Begin(Options());
    const uint64_t stopped_at = g_shared->count;
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_EQ(g_shared->count, stopped_at) << "a task runs before Go()";
    ASSERT_TRUE(clocks_.contains(child_));
    const uint64_t region = clocks_[child_].region;
    ASSERT_NE(region, 0u);
    stops_->Go();
    EXPECT_TRUE(Advances());
    EXPECT_GT(ReadTracee<uint64_t>(child_, region + CLOCK_HEADER_OFFSET).value(), 10u);
    End();
    ExpectNothingLeft(child_);
    EXPECT_TRUE(Advances());
  }
  EXPECT_EQ(g_shared->wrong, 0u);
  EXPECT_EQ(problem(), "");
}

TEST_F(Stops, ClocksAsSystemCalls) {
  Start(ReadClocks);
  auto options = Options();
  options.clocks = ClockStyle::kSystemCalls;
  Begin(std::move(options));
  EXPECT_EQ(clocks_[child_].region, 0u);
  stops_->Go();
  EXPECT_TRUE(Advances());
  EXPECT_TRUE(FindPatchedClocks(child_).value());
  End();
  ExpectNothingLeft(child_);
  EXPECT_TRUE(Advances());
  EXPECT_EQ(g_shared->wrong, 0u);
}

void OnValue(int, siginfo_t* info, void*) {
  g_shared->handled++;
  g_shared->sum += info->si_value.sival_int;
}

void HandleValues() {
  struct sigaction action {};
  action.sa_sigaction = OnValue;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGRTMIN + 1, &action, nullptr);
  g_shared->ready = true;
}

void ComputeWithoutCalls() {
  HandleValues();
  for (;;) {
    g_shared->count++;
  }
}

// Computes for a while, then makes one system call, and so on.
void ComputeAndCall() {
  HandleValues();
  volatile uint64_t state = 1;
  for (;;) {
    for (int i = 0; i < 200'000; ++i) {
      state = state * 6364136223846793005ull + 1;
    }
    syscall(SYS_getppid);
    g_shared->count++;
  }
}

TEST_F(Stops, SignalsFromOutsideWaitForASystemCall) {
  Start(ComputeAndCall);
  Begin(Options());
  stops_->Go();
  constexpr int kSignals = 60;
  int64_t sum = 0;
  for (int i = 1; i <= kSignals; ++i) {
    sum += i;
    Send(i);
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_TRUE(Eventually([] { return g_shared->handled == kSignals; }));
  EXPECT_EQ(g_shared->sum, sum);
  EXPECT_GT(stops_->stats().held_signals, 0u);
  EXPECT_EQ(problem(), "");
  End();
  ExpectNothingLeft(child_);
}

TEST_F(Stops, ASignalThatWaitsTooLongIsDeliveredAndIsAProblem) {
  Start(ComputeWithoutCalls);
  Begin(Options());
  stops_->Go();
  Send(77);
  EXPECT_TRUE(Eventually([] { return g_shared->handled == 1; }));
  EXPECT_EQ(g_shared->sum, 77);
  EXPECT_NE(problem().find("while it computed"), std::string::npos) << problem();
  End();
}

TEST_F(Stops, AHeldSignalSurvivesTheEnd) {
  Start(ComputeWithoutCalls);
  Begin(Options());
  stops_->Go();
  Send(5);
  End();
  EXPECT_TRUE(Eventually([] { return g_shared->handled == 1; }));
  EXPECT_EQ(g_shared->sum, 5);
  ExpectNothingLeft(child_);
}

TEST_F(Stops, TasksBornLaterAndNewPrograms) {
  Start([] {
    g_shared->ready = true;
    while (!g_shared->done) {
      usleep(1000);
    }
    std::thread([] { g_shared->count += 100; }).join();
    const pid_t child = fork();
    if (child == 0) {
      execl("/bin/sleep", "sleep", "100", nullptr);
      _exit(1);
    }
    const pid_t other = vfork();
    if (other == 0) {
      execl("/bin/true", "true", nullptr);
      _exit(1);
    }
    int status = 0;
    waitpid(other, &status, 0);
    g_shared->handled = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 2;
  });
  Begin(Options());
  stops_->Go();
  g_shared->done = true;
  ASSERT_TRUE(Eventually([] { return g_shared->handled != 0; }));
  EXPECT_EQ(g_shared->handled, 1u);
  EXPECT_EQ(g_shared->count, 100u);
  const auto processes = CgroupProcesses(cgroup_).value();
  ASSERT_EQ(processes.size(), 2u);
  const pid_t sleeper = processes[0] == child_ ? processes[1] : processes[0];
  EXPECT_TRUE(Eventually([&] { return stops_->stats().execs == 2; }));
  const auto patched = FindPatchedClocks(sleeper);
  ASSERT_TRUE(patched && *patched);
  EXPECT_NE((*patched)->region, 0u);
  EXPECT_FALSE(muted_.empty());
  EXPECT_EQ(muted_.back(), 0);
  End();
  ExpectNothingLeft(child_);
  ExpectNothingLeft(sleeper);
  EXPECT_EQ(problem(), "");
}

TEST_F(Stops, TimeStampCounterIsTrapped) {
  Start([] {
    g_shared->ready = true;
    uint64_t last = 0;
    for (;;) {
      const uint64_t now = __rdtsc();
      g_shared->wrong += now < last ? 1 : 0;
      last = now;
      g_shared->count++;
    }
  });
  auto options = Options();
  options.clocks = ClockStyle::kSystemCalls;
  options.trap_tsc = true;
  Begin(std::move(options));
  stops_->Go();
  EXPECT_TRUE(Advances());
  EXPECT_GT(stops_->stats().tsc_readings, 0u);
  {
    const std::lock_guard lock(mutex_);
    EXPECT_NE(last_tsc_, 0u);
  }
  End();
  const uint64_t then = g_shared->count;
  EXPECT_TRUE(Eventually([then] { return g_shared->count > then + 100'000; }));
  EXPECT_EQ(g_shared->wrong, 0u);
}

TEST_F(Stops, AFreshProcessUndoesWhatADeadOneHasLeft) {
  Start(ReadClocks);
  const pid_t tracer = fork();
  if (tracer == 0) {
    auto stops = ControlStops::Begin(Options(), Freeze());
    if (stops) {
      (*stops)->Go();
      g_shared->done = true;
    }
    for (;;) {
      pause();
    }
  }
  EXPECT_TRUE(Eventually([] { return g_shared->done.load(); }));
  kill(tracer, SIGKILL);
  waitpid(tracer, nullptr, 0);
  EXPECT_TRUE(FindPatchedClocks(child_).value());
  EXPECT_TRUE(Advances());
  kill(child_, SIGSTOP);  // as if the tracer had died at a turn
  siginfo_t stopped{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child_), &stopped, WSTOPPED | WNOWAIT), 0);
  EXPECT_TRUE(UndoControlStops(cgroup_));
  ExpectNothingLeft(child_);
  EXPECT_TRUE(Advances());
  EXPECT_TRUE(UndoControlStops(cgroup_));  // nothing to do
  EXPECT_EQ(g_shared->wrong, 0u);
}

TEST_F(Stops, AContainerThatEndsMeanwhile) {
  Start(ReadClocks);
  Begin(Options());
  stops_->Go();
  EXPECT_TRUE(Advances());
  container_->Kill();
  const auto ended = stops_->End(FrozenCgroup::None());
  EXPECT_TRUE(ended) << ended.error().message;
  stops_.reset();
  EXPECT_TRUE(UndoControlStops(cgroup_));
}

}  // namespace
}  // namespace migrate
