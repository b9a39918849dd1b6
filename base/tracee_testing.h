// For tests of what traces: a child process that runs a function, and waiting for its stops. The
// child is killed and reaped at the end. Used by one thread.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <thread>

#include "base/file_util.h"
#include "base/tracee.h"
#include "base/wait_source.h"

namespace migrate::testing_support {

// Zeroed memory that a child and its descendants share with the test.
template <typename T>
class Shared {
 public:
  Shared() {
    void* page = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    value_ = new (page) T{};
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(value_, sizeof(T)); }
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

// Waits long enough for the slowest machine.
template <typename Condition>
bool Eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class Child {
 public:
  // `body` runs in a forked process; its result is the exit code.
  explicit Child(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ == 0) {
      _exit(body());
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      int status;
      while (waitpid(pid_, &status, __WALL) == pid_ && !WIFEXITED(status) && !WIFSIGNALED(status)) {
      }
    }
  }
  pid_t pid() const { return pid_; }
  // As waitpid tells the end; the child needs no killing any more.
  int WaitForEnd() {
    int status = 0;
    while (waitpid(pid_, &status, __WALL) == pid_ && !WIFEXITED(status) && !WIFSIGNALED(status)) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
};

inline StoppedTracee NextStop(RunningTracee running, WaitSource& waits) {
  auto event = waits.Wait(running.tid(), std::chrono::seconds(20));
  if (!event || !*event) {
    ADD_FAILURE() << "no stop of task " << running.tid();
    std::abort();
  }
  auto state = std::move(running).Decode((*event)->status);
  if (!std::holds_alternative<StoppedTracee>(state)) {
    ADD_FAILURE() << "task ended: " << (*event)->status;
    std::abort();
  }
  return std::get<StoppedTracee>(std::move(state));
}

inline StoppedTracee SeizeAndStop(pid_t tid, WaitSource& waits, unsigned long options = 0) {
  auto running = RunningTracee::Seize(tid, options | PTRACE_O_TRACESYSGOOD);
  if (!running || !running->Interrupt()) {
    ADD_FAILURE() << "cannot seize " << tid;
    std::abort();
  }
  return NextStop(std::move(*running), waits);
}


// A field of /proc/TID/status, e.g. "State" or "TracerPid", without the blanks before it.
inline std::string StatusOf(pid_t tid, std::string_view field) {
  const auto status = ReadSmallFile("/proc/" + std::to_string(tid) + "/status");
  const std::string key = "\n" + std::string(field) + ":";
  const auto at = status ? status->find(key) : std::string::npos;
  if (at == std::string::npos) {
    return "";
  }
  const auto begin = status->find_first_not_of(" \t", at + key.size());
  return status->substr(begin, status->find('\n', begin) - begin);
}
inline bool Sleeps(pid_t tid) { return StatusOf(tid, "State").starts_with("S"); }

}  // namespace migrate::testing_support
