// The watchdog program with a daemon that is killed: the test forks it, so that it can die. Needs
// root and a freezer.
#include "migrated/watchdog.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/netns.h"
#include "migrated/container_processes.h"
#include "migrated/journal.h"
#include "migrated/kernel_undo.h"
#include "migrated/network/netlock.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr char kId[] = "m1";
constexpr auto kPatience = 20s;

bool Eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) {
      return false;
    }
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

class WatchdogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/migrate_watchdog_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    state_dir_ = name;
    const auto own = FindFreezerCgroup(getpid());
    cgroup_ = (own ? *own : fs::path("/sys/fs/cgroup/freezer")) /
              ("migrate_watchdog_" + std::to_string(getpid()));
    std::error_code error;
    if (geteuid() != 0 || !fs::create_directory(cgroup_, error)) {
      GTEST_SKIP() << "needs root and a writable freezer";
    }
    shared_ = static_cast<Shared*>(
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    container_ = fork();
    if (container_ == 0) {
      shared_->ready = unshare(CLONE_NEWNET) == 0;
      for (;;) {
        ++shared_->counter;
        usleep(100);
      }
    }
    ASSERT_TRUE(WriteControlFile(cgroup_ / "cgroup.procs", std::to_string(container_)));
    ASSERT_TRUE(Eventually([&] { return shared_->ready.load(); }));
  }
  void TearDown() override {
    KillDaemon();
    static_cast<void>(TakeOverFromWatchdogs(state_dir_));
    if (container_ > 0) {
      static_cast<void>(FrozenCgroup::Thaw(cgroup_));
      kill(container_, SIGKILL);
      waitpid(container_, nullptr, 0);
    }
    rmdir(cgroup_.c_str());
    fs::remove_all(state_dir_);
  }

  v1::MigrationRecord Record(v1::Decision decision) const {
    v1::MigrationRecord record;
    record.mutable_migration()->set_id(kId);
    record.set_decision(decision);
    v1::UndoItem* lock = record.add_undo();
    lock->set_kind(v1::UndoItem::NETWORK_LOCK);
    lock->set_name(std::to_string(container_));
    lock->set_detail(StartTimeOf(container_).value());
    v1::UndoItem* frozen = record.add_undo();
    frozen->set_kind(v1::UndoItem::FROZEN_CGROUP);
    frozen->set_name(cgroup_);
    return record;
  }

  // As a daemon does it: journal, watchdog, freeze, and so on to `decision`; then it only waits.
  void StartDaemon(v1::Decision decision) {
    daemon_ = fork();
    if (daemon_ != 0) {
      ASSERT_TRUE(Eventually([&] { return shared_->daemon_state != 0; }));
      ASSERT_EQ(shared_->daemon_state, 1);
      return;
    }
    signal(SIGPIPE, SIG_IGN);
    auto journal = Journal::Open(state_dir_ + "/journal.db");
    auto watchdog = Watchdog::Start({MIGRATE_WATCHDOG, state_dir_, kId});
    bool good = journal && watchdog && (*journal)->Put(Record(v1::DECISION_UNDECIDED));
    const auto netns = OpenNetns(container_);
    auto frozen = FrozenCgroup::Freeze(cgroup_);
    good = good && frozen && netns && LockNetns(*netns);
    good = good && (*journal)->Put(Record(decision)) && (*watchdog)->CheckAlive();
    shared_->daemon_state = good ? 1 : 2;
    for (;;) {
      pause();
    }
  }
  void KillDaemon() {
    if (daemon_ > 0) {
      kill(daemon_, SIGKILL);
      waitpid(daemon_, nullptr, 0);
      daemon_ = -1;
    }
  }

  bool Runs() {
    const long before = shared_->counter;
    return Eventually([&] { return shared_->counter > before + 10; });
  }
  bool IsFrozenFor(std::chrono::milliseconds time) {
    const long before = shared_->counter;
    std::this_thread::sleep_for(time);
    return shared_->counter == before;
  }
  bool WatchdogIsThere() const { return fs::exists(WatchdogLockPath(state_dir_, kId)); }
  int WatchdogPid() const {
    int pid = 0;
    std::ifstream(WatchdogLockPath(state_dir_, kId)) >> pid;
    return pid;
  }
  bool Locked() const { return IsLocked(OpenNetns(container_).value()).value(); }

  struct Shared {
    std::atomic<long> counter;
    std::atomic<bool> ready;
    std::atomic<int> daemon_state;  // 1: set up, 2: could not
  };
  std::string state_dir_;
  fs::path cgroup_;
  Shared* shared_ = nullptr;
  pid_t container_ = -1;
  pid_t daemon_ = -1;
};

TEST_F(WatchdogTest, TheContainerGoesOnWhenTheDaemonIsKilled) {
  StartDaemon(v1::DECISION_UNDECIDED);
  EXPECT_TRUE(IsFrozenFor(50ms));
  EXPECT_TRUE(Locked());
  KillDaemon();
  EXPECT_TRUE(Runs());
  EXPECT_TRUE(Eventually([&] { return !Locked(); }));
  EXPECT_TRUE(Eventually([&] { return !WatchdogIsThere(); }));
}

TEST_F(WatchdogTest, PastTheCommitPointItStaysAway) {
  StartDaemon(v1::DECISION_COMMITTED);
  KillDaemon();
  EXPECT_TRUE(Eventually([&] { return !WatchdogIsThere(); }));
  EXPECT_TRUE(IsFrozenFor(50ms));
  EXPECT_TRUE(Locked());
}

TEST_F(WatchdogTest, SignalsToTheWholeUnitDoNotEndIt) {
  StartDaemon(v1::DECISION_UNDECIDED);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    kill(WatchdogPid(), number);
  }
  KillDaemon();
  EXPECT_TRUE(Runs());
}

TEST_F(WatchdogTest, OneThatDiesIsReplaced) {
  StartDaemon(v1::DECISION_UNDECIDED);
  const int first = WatchdogPid();
  kill(first, SIGKILL);
  EXPECT_TRUE(Eventually([&] { return WatchdogPid() != first && WatchdogPid() != 0; }));
  EXPECT_TRUE(IsFrozenFor(50ms));
  KillDaemon();
  EXPECT_TRUE(Runs());
}

TEST_F(WatchdogTest, ItWaitsWhileCriuHoldsTheContainer) {
  StartDaemon(v1::DECISION_UNDECIDED);
  // What runc looks like while it has CRIU dump this container; it ends when it is told to.
  const fs::path script = state_dir_ + "/runc";
  std::ofstream(script) << "read line\n";
  std::array<int, 2> pipe_fds{};
  ASSERT_EQ(pipe2(pipe_fds.data(), O_CLOEXEC), 0);
  const pid_t runc = fork();
  if (runc == 0) {
    dup2(pipe_fds[0], 0);
    execl("/bin/sh", "sh", script.c_str(), "checkpoint", cgroup_.filename().c_str(), nullptr);
    _exit(127);
  }
  ASSERT_TRUE(Eventually([&] {
    return ReadSmallFile("/proc/" + std::to_string(runc) + "/cmdline")->find("checkpoint") !=
           std::string::npos;
  }));
  KillDaemon();
  EXPECT_TRUE(IsFrozenFor(200ms));
  EXPECT_TRUE(WatchdogIsThere());
  close(pipe_fds[1]);
  waitpid(runc, nullptr, 0);
  EXPECT_TRUE(Runs());
}

TEST_F(WatchdogTest, ANewDaemonTakesOverBeforeItHasActed) {
  StartDaemon(v1::DECISION_UNDECIDED);
  // Stopped, it cannot act on the death of its daemon before the new one is there.
  const int pid = WatchdogPid();
  kill(pid, SIGSTOP);
  KillDaemon();
  const auto journal = Journal::Open(state_dir_ + "/journal.db");
  ASSERT_TRUE(journal) << journal.error().message;
  std::thread later([&] {
    std::this_thread::sleep_for(100ms);
    kill(pid, SIGCONT);
  });
  EXPECT_TRUE(TakeOverFromWatchdogs(state_dir_));
  later.join();
  EXPECT_FALSE(WatchdogIsThere());
  EXPECT_TRUE(IsFrozenFor(100ms));  // it is the new daemon's
}

TEST_F(WatchdogTest, ANewDaemonKillsOneThatDoesNotGo) {
  StartDaemon(v1::DECISION_UNDECIDED);
  kill(WatchdogPid(), SIGSTOP);
  KillDaemon();
  EXPECT_TRUE(TakeOverFromWatchdogs(state_dir_));
  EXPECT_TRUE(IsFrozenFor(100ms));
}

TEST_F(WatchdogTest, SentAwayItDoesNothing) {
  {
    auto watchdog = Watchdog::Start({MIGRATE_WATCHDOG, state_dir_, kId});
    ASSERT_TRUE(watchdog) << watchdog.error().message;
    EXPECT_TRUE(WatchdogIsThere());
  }
  EXPECT_FALSE(WatchdogIsThere());
}

TEST_F(WatchdogTest, WithoutTheProgramThereIsAnErrorThatSaysSo) {
  const auto watchdog = Watchdog::Start({"/nonexistent/migrate-watchdog", state_dir_, kId});
  ASSERT_FALSE(watchdog);
  EXPECT_EQ(watchdog.error().reason, "NO_WATCHDOG");
  EXPECT_NE(watchdog.error().message.find("/nonexistent/migrate-watchdog"), std::string::npos);
}

}  // namespace
}  // namespace migrate
