// Tells that a task of the recorded container keeps the one CPU while others wait for it: under
// SCHED_FIFO (recorder/serialize.h) nobody takes it away, so a task that spins until another one has
// done something spins for ever.
//
// A thread of its own looks every limits::kStarvationPoll. It reads one number of the container's
// CPU accounting as long as the container is idle or makes progress, and its tasks only when a whole
// poll went by without an event. It runs on other CPUs than the container, if there are any, and
// before it (SCHED_FIFO 2; its own CPU time is a few microseconds per poll).
//
// `progress` is read by the thread: any number that changes with every event. Best is what the
// kernel side counts, not what a reader of the ring has got to: a reader that lags behind looks like
// a container that computes. The callback is called on the thread, at most once per task that spins;
// it must not destroy the object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/limits.h"
#include "base/result.h"

namespace migrate {

struct Starvation {
  pid_t spinner = 0;  // host tids
  pid_t waiter = 0;
  std::chrono::milliseconds waited{};  // at least
  // False: the spinner makes system calls, but none that lets another task run.
  bool without_syscalls = true;
};

struct StarvationOptions {
  std::string container_id;
  int init_pid = 0;
  std::filesystem::path freezer_cgroup;
  int cpu = -1;  // of the container
  std::chrono::milliseconds limit = limits::kStarvationLimit;
  std::chrono::milliseconds monopoly_limit = limits::kMonopolyLimit;
  std::function<std::uint64_t()> progress = {};
  // A task that makes system calls, but none that lets another one run: it is to give up the CPU.
  // Called whenever that has gone on for limits::kTurn.
  std::function<void(pid_t)> on_turn_over = {};
  // No turn helps.
  std::function<void(const Starvation&)> on_starved = {};
};

class StarvationWatchdog {
 public:
  static Result<std::unique_ptr<StarvationWatchdog>> Start(StarvationOptions options);
  ~StarvationWatchdog();  // waits for the thread
  StarvationWatchdog(const StarvationWatchdog&) = delete;
  StarvationWatchdog& operator=(const StarvationWatchdog&) = delete;

 private:
  struct Impl;
  explicit StarvationWatchdog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace migrate
