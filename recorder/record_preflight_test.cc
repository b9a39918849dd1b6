#include "recorder/record_preflight.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <memory>
#include <set>

#include "base/file_util.h"
#include "base/owned_fd.h"
#include "base/scope_exit.h"
#include "recorder/outside_ends.h"
#include "recorder/test_child.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr std::size_t kSize = 8192;

std::set<std::string> Codes(const std::vector<Blocker>& blockers) {
  std::set<std::string> codes;
  for (const Blocker& blocker : blockers) {
    codes.insert(blocker.code);
  }
  return codes;
}

class RecordPreflightTest : public ::testing::Test {
 protected:
  // What the caller of this program left open would be shared with it.
  static void SetUpTestSuite() { close_range(3, ~0U, 0); }

  void SetUp() override {
    std::string name = ::testing::TempDir() + "record_preflight_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
    std::ofstream(dir_ / "file") << std::string(kSize, 'x');
  }
  void TearDown() override { fs::remove_all(dir_); }

  // A directory is as good as a cgroup for listing.
  void Contain(const std::vector<pid_t>& processes) {
    for (const char* name : {"cgroup.procs", "cgroup.threads", "tasks"}) {
      std::ofstream out(dir_ / name);
      for (const pid_t pid : processes) {
        out << pid << "\n";
      }
    }
  }

  // The children are in the namespaces of this program: that is a test of its own.
  std::vector<Blocker> Inspect(const std::vector<pid_t>& processes) {
    Contain(processes);
    std::vector<Blocker> blockers = InspectForRecording(processes.front(), dir_);
    std::erase_if(blockers, [](const Blocker& blocker) {
      return blocker.code == "SHARED_PID_NAMESPACE" || blocker.code == "SHARED_IPC_NAMESPACE" ||
             blocker.code == "EXEC_SESSION";
    });
    return blockers;
  }

  bool MapFile(int open_flags, int protection) const {
    const OwnedFd file(open((dir_ / "file").c_str(), open_flags | O_CLOEXEC));
    return mmap(nullptr, kSize, protection, MAP_SHARED, file.get(), 0) != MAP_FAILED;
  }
  bool MapWritable() const { return MapFile(O_RDWR, PROT_READ | PROT_WRITE); }
  bool MapReadable() const { return MapFile(O_RDONLY, PROT_READ); }
  bool Open(int flags) const { return open((dir_ / "file").c_str(), flags) >= 0; }

  fs::path dir_;
};

bool SetUpAio() {
  aio_context_t context = 0;
  return syscall(SYS_io_setup, 4, &context) == 0;
}

bool SetUpIoUring() {
  std::array<char, 120> parameters{};  // struct io_uring_params
  return syscall(SYS_io_uring_setup, 4, parameters.data()) >= 0;
}

TEST_F(RecordPreflightTest, OrdinaryProcessesCanBeRecorded) {
  std::array<int, 2> ends{};
  std::array<int, 2> sockets{};
  ASSERT_EQ(pipe(ends.data()), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()), 0);
  const auto shares = [&] {
    return MapWritable() && mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                 -1, 0) != MAP_FAILED;
  };
  const Child first(shares);
  const Child second(shares);
  for (const int fd : {ends[0], ends[1], sockets[0], sockets[1]}) {
    close(fd);
  }
  ASSERT_TRUE(first.able() && second.able());
  EXPECT_THAT(Inspect({first.pid(), second.pid()}), IsEmpty());
}

TEST_F(RecordPreflightTest, AStoppedTask) {
  const Child child([] { return true; });
  ASSERT_TRUE(child.able());
  kill(child.pid(), SIGSTOP);
  siginfo_t stopped{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid()), &stopped, WSTOPPED | WNOWAIT), 0);
  EXPECT_THAT(Inspect({child.pid()}), ElementsAre(Field(&Blocker::code, "TASK_STOPPED")));
}

TEST_F(RecordPreflightTest, AioContext) {
  const Child child(SetUpAio);
  if (!child.able()) {
    GTEST_SKIP() << "this kernel refuses the call";
  }
  const auto blockers = Inspect({child.pid()});
  ASSERT_THAT(blockers, ElementsAre(Field(&Blocker::code, "AIO")));
  EXPECT_THAT(blockers.front().subject, HasSubstr(std::to_string(child.pid())));
  EXPECT_THAT(blockers.front().remedy, HasSubstr("seccomp-profile"));
}

TEST_F(RecordPreflightTest, WhatCannotBeMovedCannotBeRecordedEither) {
  const Child child(SetUpIoUring);
  if (!child.able()) {
    GTEST_SKIP() << "this kernel refuses the call";
  }
  const auto blockers = Inspect({child.pid()});
  ASSERT_THAT(blockers, ElementsAre(Field(&Blocker::code, "IO_URING")));
  EXPECT_THAT(blockers.front().detail, HasSubstr("descriptor"));
}

TEST_F(RecordPreflightTest, MemoryThatIsMappedOutside) {
  const Child inside([&] { return MapWritable(); });
  const Child outside([&] { return MapReadable(); });
  const auto blockers = Inspect({inside.pid()});
  ASSERT_THAT(blockers, ElementsAre(Field(&Blocker::code, "SHARED_MEMORY")));
  EXPECT_THAT(blockers.front().subject, HasSubstr(std::to_string(inside.pid())));
  EXPECT_THAT(blockers.front().detail, HasSubstr(std::to_string(outside.pid())));
  EXPECT_THAT(blockers.front().detail, HasSubstr((dir_ / "file").string()));
  EXPECT_THAT(Inspect({inside.pid(), outside.pid()}), IsEmpty());
}

TEST_F(RecordPreflightTest, WritableMemoryWhoseFileIsOpenOutside) {
  const Child inside([&] { return MapWritable(); });
  const Child outside([&] { return Open(O_RDONLY); });
  EXPECT_EQ(Codes(Inspect({inside.pid()})), std::set<std::string>{"SHARED_MEMORY"});
}

TEST_F(RecordPreflightTest, ReadOnlyMemoryChangesOnlyIfSomebodyWritesIt) {
  const Child inside([&] { return MapReadable(); });
  {
    const Child reader([&] { return MapReadable() && Open(O_RDONLY); });
    EXPECT_THAT(Inspect({inside.pid()}), IsEmpty());
  }
  {
    const Child writer([&] { return Open(O_WRONLY); });
    EXPECT_EQ(Codes(Inspect({inside.pid()})), std::set<std::string>{"SHARED_MEMORY"});
  }
  {
    const Child mapper([&] { return MapWritable(); });
    EXPECT_EQ(Codes(Inspect({inside.pid()})), std::set<std::string>{"SHARED_MEMORY"});
  }
}

TEST_F(RecordPreflightTest, SystemVMemory) {
  const int id = shmget(IPC_PRIVATE, kSize, 0600);
  ASSERT_GE(id, 0);
  const ScopeExit remove([id] { shmctl(id, IPC_RMID, nullptr); });
  const auto attach = [id] { return shmat(id, nullptr, 0) != reinterpret_cast<void*>(-1); };
  const Child inside(attach);
  const Child outside(attach);
  ASSERT_TRUE(inside.able() && outside.able());
  EXPECT_EQ(Codes(Inspect({inside.pid()})), std::set<std::string>{"SHARED_MEMORY"});
}

// The first segment of every IPC namespace has the same number.
TEST_F(RecordPreflightTest, SystemVMemoryOfAnotherNamespaceIsAnother) {
  const auto attach = [] {
    return unshare(CLONE_NEWIPC) == 0 &&
           shmat(shmget(IPC_PRIVATE, kSize, 0600), nullptr, 0) != reinterpret_cast<void*>(-1);
  };
  const Child inside(attach);
  const Child outside(attach);
  if (!inside.able()) {
    GTEST_SKIP() << "this kernel refuses the call";
  }
  EXPECT_THAT(Inspect({inside.pid()}), IsEmpty());
}

TEST_F(RecordPreflightTest, UnixSocketWhosePeerIsOutside) {
  std::array<int, 2> sockets{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.data()), 0);
  const Child inside([&] { return close(sockets[1]) == 0; });
  const Child outside([&] { return close(sockets[0]) == 0; });
  close(sockets[0]);
  close(sockets[1]);
  const auto blockers = Inspect({inside.pid()});
  ASSERT_THAT(blockers, ElementsAre(Field(&Blocker::code, "OUTSIDE_SOCKET")));
  EXPECT_THAT(blockers.front().detail, HasSubstr(std::to_string(outside.pid())));
  EXPECT_THAT(Inspect({inside.pid(), outside.pid()}), IsEmpty());
}

TEST_F(RecordPreflightTest, PipeFromOutside) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const Child inside([&] { return close(ends[1]) == 0; });
  const Child outside([&] { return close(ends[0]) == 0; });
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(Codes(Inspect({inside.pid()})), std::set<std::string>{"OUTSIDE_PIPE"});
}

// The engine holds the other ends of those. The recorder is told of them all the same.
TEST_F(RecordPreflightTest, StandardStreamsMayComeFromOutside) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  struct stat info {};
  ASSERT_EQ(fstat(ends[0], &info), 0);
  const Child inside([&] { return dup2(ends[0], 0) == 0 && close(ends[1]) == 0; });
  const Child outside([&] { return close(ends[0]) == 0; });
  close(ends[0]);
  close(ends[1]);
  EXPECT_THAT(Inspect({inside.pid()}), IsEmpty());
  const auto found = FindOutsideEnds(inside.pid(), dir_);
  ASSERT_TRUE(found);
  const auto pipe_end = std::find_if(found->begin(), found->end(), [&](const OutsideEnd& end) {
    return end.inode == info.st_ino;
  });
  ASSERT_NE(pipe_end, found->end());
  EXPECT_TRUE(pipe_end->standard_stream);
  EXPECT_EQ(pipe_end->outside.pid, outside.pid());
}

TEST_F(RecordPreflightTest, SharedNamespaces) {
  const Child shared([] { return true; });
  Contain({shared.pid()});
  EXPECT_THAT(Codes(InspectForRecording(shared.pid(), dir_)),
              IsSupersetOf({"SHARED_PID_NAMESPACE", "SHARED_IPC_NAMESPACE"}));

  const Child parent([] {
    const OwnedFd old(open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC));
    if (unshare(CLONE_NEWPID | CLONE_NEWIPC) != 0) {
      return false;
    }
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) {
        pause();
      }
    }
    // This one stays in the old pid namespace as it is, and in the old IPC one so.
    return setns(old.get(), CLONE_NEWIPC) == 0;
  });
  if (!parent.able()) {
    GTEST_SKIP() << "this kernel refuses the call";
  }
  pid_t alone = 0;
  std::ifstream("/proc/" + std::to_string(parent.pid()) + "/task/" + std::to_string(parent.pid()) +
                "/children") >>
      alone;
  ASSERT_GT(alone, 0);
  Contain({alone});
  const auto codes = Codes(InspectForRecording(alone, dir_));
  EXPECT_THAT(codes, Not(Contains("SHARED_PID_NAMESPACE")));
  EXPECT_THAT(codes, Not(Contains("SHARED_IPC_NAMESPACE")));
}

TEST_F(RecordPreflightTest, GoneProcessesAndCgroups) {
  Contain({1 << 30});
  EXPECT_THAT(InspectForRecording(1 << 30, dir_), IsEmpty());
  EXPECT_THAT(InspectForRecording(1 << 30, dir_ / "gone"), IsEmpty());
  EXPECT_THAT(NotesForRecording(1 << 30, dir_ / "gone"), IsEmpty());
}

TEST_F(RecordPreflightTest, BusyTasksAreNoted) {
  const auto spin = [] {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) {
        asm volatile("");
      }
    }
    return true;
  };
  std::vector<std::unique_ptr<Child>> children;
  std::vector<pid_t> busy;
  for (int i = 0; i < 6; ++i) {
    children.push_back(std::make_unique<Child>(spin));
    const std::string pid = std::to_string(children.back()->pid());
    std::ifstream list("/proc/" + pid + "/task/" + pid + "/children");
    for (pid_t child = 0; list >> child;) {
      busy.push_back(child);
    }
  }
  ASSERT_EQ(busy.size(), 6u);
  Contain(busy);
  // A child that was just born may still be on its way to the loop.
  for (int tries = 0; tries < 100 && NotesForRecording(busy.front(), dir_).empty(); ++tries) {
    usleep(10'000);
  }
  EXPECT_THAT(NotesForRecording(busy.front(), dir_), Contains(Field(&Blocker::code, "BUSY_TASKS")));
  Contain({children.front()->pid()});
  EXPECT_THAT(NotesForRecording(children.front()->pid(), dir_),
              Not(Contains(Field(&Blocker::code, "BUSY_TASKS"))));
}

TEST_F(RecordPreflightTest, CpuQuotaIsNoted) {
  const fs::path hierarchy = "/sys/fs/cgroup/cpu";
  if (!fs::exists(hierarchy / "cpu.cfs_quota_us")) {
    GTEST_SKIP() << "no cgroup v1 hierarchy for the CPU";
  }
  const fs::path cgroup = hierarchy / ("migrate_test_" + std::to_string(getpid()));
  ASSERT_TRUE(fs::create_directory(cgroup));
  {
    const Child child([] { return true; });
    Contain({child.pid()});
    ASSERT_TRUE(WriteControlFile(cgroup / "cgroup.procs", std::to_string(child.pid())));
    EXPECT_THAT(NotesForRecording(child.pid(), dir_), IsEmpty());
    ASSERT_TRUE(WriteControlFile(cgroup / "cpu.cfs_quota_us", "50000"));
    EXPECT_THAT(NotesForRecording(child.pid(), dir_),
                ElementsAre(Field(&Blocker::code, "CPU_QUOTA")));
  }
  EXPECT_EQ(rmdir(cgroup.c_str()), 0);
}

// --- kernel ---

RecordingKernel Able() {
  return {.bpf_refusal = {},
          .type_information = true,
          .ring_buffer = true,
          .task_storage = true,
          .loops = true,
          .missing_tracepoints = {},
          .tracing_forbidden = false};
}

TEST(RecordingKernel, EverythingThatIsMissingIsNamed) {
  EXPECT_THAT(BlockersOf(Able()), IsEmpty());
  EXPECT_EQ(Codes(BlockersOf(RecordingKernel{.bpf_refusal = {},
                                             .type_information = false,
                                             .ring_buffer = false,
                                             .task_storage = false,
                                             .loops = false,
                                             .missing_tracepoints = {"sys_exit"},
                                             .tracing_forbidden = true})),
            (std::set<std::string>{"NO_BTF", "NO_BPF_RING_BUFFER", "NO_BPF_TASK_STORAGE",
                                   "NO_BPF_LOOP", "NO_TRACEPOINT", "NO_PTRACE"}));
  for (const Blocker& blocker : BlockersOf(RecordingKernel{})) {
    EXPECT_FALSE(blocker.detail.empty() || blocker.remedy.empty()) << blocker.code;
  }
}

TEST(RecordingKernel, ThisOneIsAskedByTrying) {
  const RecordingKernel kernel = ProbeRecordingKernel();
  if (!kernel.bpf_refusal.empty()) {
    GTEST_SKIP() << "no BPF here: " << kernel.bpf_refusal;
  }
  EXPECT_EQ(kernel.type_information, fs::exists("/sys/kernel/btf/vmlinux"));
  if (kernel.type_information) {  // newer than all that the rest needs, but for the tracepoints
    EXPECT_THAT(InspectKernelForRecording(), IsEmpty());
  }
}

TEST(RecordingKernel, WithoutPrivilegeItIsRefused) {
  const Child child([] {
    return setresuid(65534, 65534, 65534) == 0 &&
           Codes(InspectKernelForRecording()).contains("BPF_REFUSED");
  });
  EXPECT_TRUE(child.able());
}

}  // namespace
}  // namespace migrate
