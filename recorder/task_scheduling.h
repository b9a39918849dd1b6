// How one task is scheduled: read, changed to SCHED_FIFO, put back exactly. A value, which can be
// written to a journal. Raw system calls: glibc has none for sched_getattr. Any thread; tasks that
// are gone are no failure of the functions that change something.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace migrate {

// Of /proc/TID/stat. The start time tells a task from a later one with the same number.
struct TaskIdentity {
  int tid = 0;
  int tgid = 0;
  int parent = 0;  // the process that waits for it
  char state = '?';
  std::uint64_t start_time = 0;  // clock ticks since boot
};

Result<TaskIdentity> ReadTaskIdentity(int tid);

struct TaskScheduling {
  int tid = 0;
  int tgid = 0;
  std::uint64_t start_time = 0;
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;  // SCHED_FLAG_RESET_ON_FORK
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t slice = 0;  // ns; 0: the kernel's default
  // The CPUs it may use. Restored only if it differs after its cpuset has been put back: setting it
  // leaves a mark in the kernel, by which later changes of the cpuset are cut.
  std::vector<int> cpus = {};
  // ns. A real-time task has none, and the kernel gives back the default and not the old one.
  std::uint64_t timer_slack = 0;

  bool operator==(const TaskScheduling&) const = default;
};

void to_json(nlohmann::json& json, const TaskScheduling& task);
void from_json(const nlohmann::json& json, TaskScheduling& task);

Result<TaskScheduling> ReadTaskScheduling(int tid);

// SCHED_FIFO with the lowest priority; children inherit it.
Result<> MakeFifo(int tid);
bool IsFifo(int tid);

// `task.tid` is what is changed, whoever it is: the caller has compared the start time.
Result<> RestoreTaskScheduling(const TaskScheduling& task);

// The CPU alone, where there is no cpuset to do it.
Result<> ConfineTask(int tid, int cpu);

}  // namespace migrate
