#include "recorder/preflight.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <functional>

#include "base/owned_fd.h"
#include "recorder/test_child.h"
#include "recorder/watched_paths.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class InspectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "preflight_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  // A directory is as good as a cgroup for listing.
  std::vector<Blocker> Inspect(pid_t init, const std::vector<pid_t>& processes) {
    std::ofstream out(dir_ / "cgroup.procs");
    for (const pid_t pid : processes) {
      out << pid << "\n";
    }
    out.close();
    return InspectContainerTasks(init, dir_);
  }

  void ExpectCode(const std::string& code, const std::function<bool()>& act) {
    const Child child(act);
    if (!child.able()) {
      GTEST_SKIP() << "this kernel refuses the call";
    }
    EXPECT_THAT(Inspect(child.pid(), {child.pid()}), ElementsAre(Field(&Blocker::code, code)));
  }

  fs::path dir_;
};

int OpenPerf() {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof attributes;
  attributes.config = PERF_COUNT_SW_TASK_CLOCK;
  return static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

int OpenIoUring() {
  std::array<char, 120> parameters{};  // struct io_uring_params
  return static_cast<int>(syscall(SYS_io_uring_setup, 4, parameters.data()));
}

TEST_F(InspectTest, PlainProcessesMove) {
  const Child child([] {
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_UNIX, SOCK_DGRAM, 0) >= 0 &&
           socket(AF_NETLINK, SOCK_RAW, 0) >= 0 && open("/dev/null", O_RDWR) >= 0 &&
           open("/dev/urandom", O_RDONLY) >= 0 && inotify_init() >= 0 &&
           memfd_create("plain", 0) >= 0;
  });
  ASSERT_TRUE(child.able());
  EXPECT_THAT(Inspect(child.pid(), {child.pid()}), IsEmpty());
}

TEST_F(InspectTest, IoUring) {
  ExpectCode("IO_URING", [] { return OpenIoUring() >= 0; });
}

TEST_F(InspectTest, PerfEvent) {
  ExpectCode("PERF_EVENT", [] { return OpenPerf() >= 0; });
}

TEST_F(InspectTest, Userfaultfd) {
  ExpectCode("USERFAULTFD",
             [] { return syscall(SYS_userfaultfd, O_NONBLOCK | UFFD_USER_MODE_ONLY) >= 0; });
}

TEST_F(InspectTest, SecretMemory) {
  ExpectCode("SECRET_MEMORY", [] { return syscall(SYS_memfd_secret, 0) >= 0; });
}

TEST_F(InspectTest, Device) {
  ExpectCode("DEVICE", [] { return open("/dev/kmsg", O_RDONLY) >= 0; });
}

TEST_F(InspectTest, UnsupportedSockets) {
  // Any of them that this kernel has; they are reported once.
  ExpectCode("UNSUPPORTED_SOCKET", [] {
    const bool alg = socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0;
    const bool vsock = socket(AF_VSOCK, SOCK_STREAM, 0) >= 0;
    const bool mptcp = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */) >= 0;
    return alg || vsock || mptcp;
  });
}

TEST_F(InspectTest, NestedUserNamespace) {
  const Child init([] { return true; });
  const Child nested([] { return unshare(CLONE_NEWUSER) == 0; });
  if (!nested.able()) {
    GTEST_SKIP() << "this kernel refuses the call";
  }
  EXPECT_THAT(Inspect(init.pid(), {init.pid(), nested.pid()}),
              Contains(Field(&Blocker::code, "NESTED_USER_NAMESPACE")));
}

TEST_F(InspectTest, TracedProcess) {
  const Child child([] { return true; });
  ASSERT_EQ(ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr), 0);
  EXPECT_THAT(Inspect(child.pid(), {child.pid()}), ElementsAre(Field(&Blocker::code, "TRACED")));
}

TEST_F(InspectTest, ExecSessionIsNamedOnceByItsHead) {
  const Child init([] { return true; });
  const Child exec([] { return fork() >= 0; });  // with a child of its own
  ASSERT_TRUE(exec.able());
  std::vector<pid_t> processes{init.pid(), exec.pid()};
  std::ifstream children("/proc/" + std::to_string(exec.pid()) + "/task/" +
                         std::to_string(exec.pid()) + "/children");
  for (pid_t pid = 0; children >> pid;) {
    processes.push_back(pid);
  }
  ASSERT_EQ(processes.size(), 3u);
  EXPECT_THAT(Inspect(init.pid(), processes), ElementsAre(Field(&Blocker::code, "EXEC_SESSION")));
  EXPECT_EQ(FindExecSession(init.pid(), dir_)->code, "EXEC_SESSION");
  Inspect(init.pid(), {init.pid()});
  EXPECT_FALSE(FindExecSession(init.pid(), dir_));
  kill(processes[2], SIGKILL);
}

TEST_F(InspectTest, GoneProcessesAndCgroups) {
  EXPECT_THAT(Inspect(1 << 30, {1 << 30}), IsEmpty());
  EXPECT_THAT(InspectContainerTasks(1, dir_ / "gone"), IsEmpty());
}

TEST_F(InspectTest, FindsWatchedPaths) {
  const fs::path watched = dir_ / "deep" / "er";
  fs::create_directories(watched);
  std::ofstream(dir_ / "file") << "x";
  const Child child([&] {
    const int fd = inotify_init1(IN_NONBLOCK);
    return inotify_add_watch(fd, watched.c_str(), IN_CREATE) >= 0 &&
           inotify_add_watch(fd, (dir_ / "file").c_str(), IN_MODIFY) >= 0;
  });
  ASSERT_TRUE(child.able());
  const std::vector<std::string> expected{watched, dir_ / "file"};
  const auto hinted = FindWatchedPaths(child.pid(), {child.pid()}, {dir_ / "file", watched});
  ASSERT_TRUE(hinted);
  EXPECT_EQ(hinted->found, expected);
  EXPECT_EQ(hinted->missing, 0);
}

TEST_F(InspectTest, DeletedWatchIsMissing) {
  // In a root of its own, so that the walk is short.
  fs::create_directories(dir_ / "root" / "gone");
  fs::create_directories(dir_ / "root" / "kept");
  const Child child([&] {
    if (chroot((dir_ / "root").c_str()) != 0 || chdir("/") != 0) {
      return false;
    }
    const int fd = inotify_init1(IN_NONBLOCK);
    const OwnedFd held(open("/gone", O_RDONLY | O_DIRECTORY));
    return inotify_add_watch(fd, "/kept", IN_CREATE) >= 0 &&
           inotify_add_watch(fd, "/gone", IN_CREATE) >= 0;
  });
  if (!child.able()) {
    GTEST_SKIP() << "needs root";
  }
  fs::rename(dir_ / "root" / "gone", dir_ / "outside");
  const auto found = FindWatchedPaths(child.pid(), {child.pid()});
  ASSERT_TRUE(found);
  EXPECT_THAT(found->found, ElementsAre("/kept"));
  EXPECT_EQ(found->missing, 1);
}

}  // namespace
}  // namespace migrate
