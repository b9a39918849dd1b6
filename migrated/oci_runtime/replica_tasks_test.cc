#include "migrated/oci_runtime/replica_tasks.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

char StateOf(pid_t pid) {
  const std::string stat = ReadSmallFile("/proc/" + std::to_string(pid) + "/stat").value_or("");
  const auto at = stat.rfind(')');
  return at == std::string::npos ? '?' : stat[at + 2];
}

bool Becomes(pid_t pid, char state) {
  for (int i = 0; i < 1000 && StateOf(pid) != state; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return StateOf(pid) == state;
}

TEST(ReplicaTasks, ResumesAllButThoseThatWereStoppedBefore) {
  std::string name = ::testing::TempDir() + "replica_XXXXXX";
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  std::ofstream list(fs::path(name) / "cgroup.procs");
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      for (;;) {
        pause();
      }
    }
    kill(pid, SIGSTOP);
    children.push_back(pid);
    list << pid << "\n";
  }
  list << (1 << 30) << "\n";  // gone meanwhile
  list.close();
  for (const pid_t pid : children) {
    ASSERT_TRUE(Becomes(pid, 'T'));
  }
  const auto resumed = ResumeReplica(name, {children[1]});
  EXPECT_TRUE(resumed) << resumed.error().message;
  EXPECT_TRUE(Becomes(children[0], 'S'));
  EXPECT_TRUE(Becomes(children[2], 'S'));
  EXPECT_EQ(StateOf(children[1]), 'T');
  for (const pid_t pid : children) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  fs::remove_all(name);
}

}  // namespace
}  // namespace migrate
