// For tests: a "container" without Docker: a process that is init of a pid namespace, in cgroups of
// its own, and memory that it shares with the test. Needs root.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/cgroup.h"
#include "base/file_util.h"

namespace migrate::testing_support {

inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 4000; ++i) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

template <typename T>
T* MakeShared() {
  void* memory =
      mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return new (memory) T();
}

class TestContainer {
 public:
  // `act` runs in the new process, when it is in its cgroups; then the process waits for its end.
  // `flags`: of clone; 0: the process sees the ids of the host.
  explicit TestContainer(const std::string& name, const std::function<void()>& act,
                         unsigned long flags = CLONE_NEWPID)
      : id_("migrate_" + name + "_" + std::to_string(getpid())) {
    namespace fs = std::filesystem;
    const auto own = FindFreezerCgroup(getpid());
    freezer_ = Make(own ? *own : fs::path("/sys/fs/cgroup/freezer"));
    for (const char* controller : {"cpuset", "cpu"}) {
      const fs::path hierarchy = fs::path("/sys/fs/cgroup") / controller;
      if (fs::exists(hierarchy / "cgroup.procs")) {
        const fs::path cgroup = Make(hierarchy);
        for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
          if (fs::exists(cgroup / file)) {
            EXPECT_TRUE(WriteControlFile(cgroup / file, ReadSmallFile(hierarchy / file).value()));
            cpuset_ = cgroup;
          }
        }
      }
    }
    int gate[2];
    EXPECT_EQ(pipe(gate), 0);
    pid_ = static_cast<pid_t>(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0));
    if (pid_ == 0) {
      char byte = 0;
      close(gate[1]);
      if (read(gate[0], &byte, 1) == 0) {
        close(gate[0]);
        act();
      }
      for (;;) {
        pause();
      }
    }
    close(gate[0]);
    for (const fs::path& cgroup : cgroups_) {
      EXPECT_TRUE(WriteControlFile(cgroup / "cgroup.procs", std::to_string(pid_)));
    }
    close(gate[1]);
  }
  TestContainer(const TestContainer&) = delete;
  TestContainer& operator=(const TestContainer&) = delete;
  ~TestContainer() {
    Kill();
    for (auto it = cgroups_.rbegin(); it != cgroups_.rend(); ++it) {
      EXPECT_TRUE(Eventually([&] { return rmdir(it->c_str()) == 0; }));
    }
  }

  void Kill() {
    if (pid_ > 0) {
      EXPECT_TRUE(KillCgroup(freezer_, std::chrono::milliseconds(5000)));
      waitpid(pid_, nullptr, 0);
      pid_ = -1;
    }
  }

  // One more cgroup, which goes with the others.
  std::filesystem::path Make(const std::filesystem::path& parent) {
    const std::filesystem::path cgroup = parent / id_;
    EXPECT_TRUE(std::filesystem::create_directory(cgroup));
    cgroups_.push_back(cgroup);
    return cgroup;
  }

  pid_t pid() const { return pid_; }
  const std::string& id() const { return id_; }
  const std::filesystem::path& freezer() const { return freezer_; }
  const std::filesystem::path& cpuset() const {
    return cpuset_;
  }  // empty: there is no such controller

 private:
  std::string id_;
  pid_t pid_ = -1;
  std::filesystem::path freezer_;
  std::filesystem::path cpuset_;
  std::vector<std::filesystem::path> cgroups_;
};

}  // namespace migrate::testing_support
