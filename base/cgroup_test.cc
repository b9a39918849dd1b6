#include "base/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/file_util.h"
#include "base/scope_exit.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeTree : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "cgroup_test_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const fs::path& name, std::string_view text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::string Read(const fs::path& name) { return ReadSmallFile(root_ / name).value_or("?"); }

  fs::path root_;
};

TEST_F(FakeTree, FindsTheV1FreezerBesideTheUnifiedHierarchy) {
  Write("7/cgroup", "6:freezer:/docker/abc\n1:cpu,cpuacct:/x\n0::/docker/abc\n");
  Write("self/mountinfo",
        "30 1 0:26 / /sys/fs/cgroup/freezer rw shared:9 - cgroup cgroup rw,freezer\n"
        "31 1 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(FindFreezerCgroup(7, {}, root_).value(), "/sys/fs/cgroup/freezer/docker/abc");
}

TEST_F(FakeTree, FindsTheUnifiedHierarchy) {
  Write("7/cgroup", "0::/system.slice/docker-abc.scope\n");
  Write("self/mountinfo", "31 1 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(FindFreezerCgroup(7, {}, root_).value(),
            "/sys/fs/cgroup/system.slice/docker-abc.scope");
}

TEST_F(FakeTree, CutsAtTheContainer) {
  Write("7/cgroup", "0::/system.slice/docker-abc.scope/init.scope\n");
  Write("self/mountinfo", "31 1 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(FindFreezerCgroup(7, "abc", root_).value(),
            "/sys/fs/cgroup/system.slice/docker-abc.scope");
}

TEST_F(FakeTree, MountOfASubtreeAndEscapedName) {
  Write("7/cgroup", "0::/outer/docker/abc\n");
  Write("self/mountinfo", "31 1 0:27 /outer /mnt/my\\040cgroup rw - cgroup2 cgroup2 rw\n");
  EXPECT_EQ(FindFreezerCgroup(7, {}, root_).value(), "/mnt/my cgroup/docker/abc");
}

TEST_F(FakeTree, RefusesTheRootCgroup) {
  Write("7/cgroup", "0::/\n");
  Write("self/mountinfo", "31 1 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  EXPECT_THAT(FindFreezerCgroup(7, {}, root_).error().message, HasSubstr("root cgroup"));
}

TEST_F(FakeTree, NoFreezerIsAnError) {
  Write("7/cgroup", "1:cpu:/x\n");
  Write("self/mountinfo", "30 1 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
  EXPECT_EQ(FindFreezerCgroup(7, {}, root_).error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(FakeTree, ListsCgroupsBelow) {
  Write("c/cgroup.procs", "10\n30\n0\n");
  Write("c/sub/cgroup.procs", "20\n");
  Write("c/sub/deeper/cgroup.procs", "25\n10\n");
  Write("c/cgroup.threads", "10\n11\n");
  EXPECT_THAT(CgroupProcesses(root_ / "c").value(), ElementsAre(10, 20, 25, 30));
  EXPECT_THAT(CgroupTasks(root_ / "c").value(), ElementsAre(10, 11));
}

TEST_F(FakeTree, FreezesAndThawsV2) {
  Write("c/cgroup.freeze", "0");
  Write("c/cgroup.events", "populated 1\nfrozen 0\n");
  std::thread kernel([&] {
    while (Read("c/cgroup.freeze") != "1") {
      std::this_thread::yield();
    }
    Write("c/cgroup.events.new", "populated 1\nfrozen 1\n");
    fs::rename(root_ / "c/cgroup.events.new", root_ / "c/cgroup.events");
  });
  {
    const auto frozen = FrozenCgroup::Freeze(root_ / "c");
    ASSERT_TRUE(frozen) << frozen.error().message;
    kernel.join();
    EXPECT_EQ(Read("c/cgroup.freeze"), "1");
  }
  EXPECT_EQ(Read("c/cgroup.freeze"), "0");
}

TEST_F(FakeTree, ThawsWhenTheFreezeTimesOut) {
  Write("c/cgroup.freeze", "0");
  Write("c/cgroup.events", "populated 1\nfrozen 0\n");
  const auto frozen = FrozenCgroup::Freeze(root_ / "c", std::chrono::milliseconds(20));
  ASSERT_FALSE(frozen);
  EXPECT_EQ(frozen.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(Read("c/cgroup.freeze"), "0");
}

TEST_F(FakeTree, ReleaseLeavesItFrozenAndAFreshDaemonThaws) {
  Write("c/cgroup.freeze", "0");
  Write("c/cgroup.events", "frozen 1\n");
  {
    auto frozen = FrozenCgroup::Freeze(root_ / "c");
    ASSERT_TRUE(frozen);
    frozen->Release();
  }
  EXPECT_EQ(Read("c/cgroup.freeze"), "1");
  EXPECT_TRUE(FrozenCgroup::Thaw(root_ / "c"));
  EXPECT_EQ(Read("c/cgroup.freeze"), "0");
  EXPECT_TRUE(FrozenCgroup::Thaw(root_ / "gone"));
}

// A process in a freezer cgroup of its own that counts in shared memory as fast as it can.
class RealFreezer : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto own = FindFreezerCgroup(getpid());
    const fs::path base = own ? *own : fs::path("/sys/fs/cgroup/freezer");
    cgroup_ = base / ("migrate_test_" + std::to_string(getpid()));
    std::error_code error;
    if (geteuid() != 0 || !fs::create_directory(cgroup_, error)) {
      GTEST_SKIP() << "needs root and a writable freezer";
    }
    counter_ = static_cast<std::atomic<long>*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    child_ = fork();
    if (child_ == 0) {
      for (;;) {
        ++*counter_;
      }
    }
    ASSERT_TRUE(WriteControlFile(cgroup_ / "cgroup.procs", std::to_string(child_)));
  }
  void TearDown() override {
    if (child_ > 0) {
      static_cast<void>(FrozenCgroup::Thaw(cgroup_));
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    rmdir(cgroup_.c_str());
  }
  long CountedIn(std::chrono::milliseconds time) {
    const long before = *counter_;
    std::this_thread::sleep_for(time);
    return *counter_ - before;
  }

  fs::path cgroup_;
  std::atomic<long>* counter_ = nullptr;
  pid_t child_ = -1;
};

TEST_F(RealFreezer, FrozenMeansNoInstruction) {
  EXPECT_GT(CountedIn(std::chrono::milliseconds(50)), 0);
  {
    const auto frozen = FrozenCgroup::Freeze(cgroup_);
    ASSERT_TRUE(frozen) << frozen.error().message;
    EXPECT_EQ(CountedIn(std::chrono::milliseconds(50)), 0);
    EXPECT_THAT(CgroupProcesses(cgroup_).value(), ElementsAre(child_));
    EXPECT_THAT(CgroupTasks(cgroup_).value(), ElementsAre(child_));
  }
  EXPECT_GT(CountedIn(std::chrono::milliseconds(50)), 0);
}

TEST_F(RealFreezer, KilledWhileFrozenRunsNoInstruction) {
  auto frozen = FrozenCgroup::Freeze(cgroup_);
  ASSERT_TRUE(frozen);
  frozen->Release();
  const long before = *counter_;
  std::thread reaper([&] { waitpid(child_, nullptr, 0); });
  const auto killed = KillCgroup(cgroup_);
  EXPECT_TRUE(killed) << killed.error().message;
  reaper.join();
  EXPECT_EQ(*counter_, before);
  EXPECT_NE(kill(child_, 0), 0);
  child_ = -1;
}

TEST_F(RealFreezer, RemovesWhatIsLeft) {
  fs::create_directory(cgroup_ / "below");
  ASSERT_TRUE(WriteControlFile(cgroup_ / "below/cgroup.procs", std::to_string(child_)));
  std::thread reaper([&] { waitpid(child_, nullptr, 0); });
  RemoveCgroupEverywhere("/" + cgroup_.filename().string());
  reaper.join();
  EXPECT_FALSE(fs::exists(cgroup_));
  child_ = -1;
}

TEST_F(RealFreezer, FindsTheCgroupOfTheChild) {
  EXPECT_EQ(FindFreezerCgroup(child_).value(), cgroup_);
}

}  // namespace
}  // namespace migrate
