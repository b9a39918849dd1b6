// One CPU and SCHED_FIFO for all tasks of a container while it is recorded: a task then keeps the CPU
// until it blocks in a system call, and the order of the system calls is the schedule.
//
// The CPU is given by the container's cpuset, policy and priority are inherited: tasks born later are
// in by themselves. Three steps, so that the undo is on disk before anything changes:
//     undo = PlanSerialize(...); journal(undo.ToJson()); Serialize(undo); ... UndoSerialize(undo);
// UndoSerialize may be run by another process, after a crash, more than once, with tasks running,
// gone or born meanwhile. Serialize wants the container frozen: what a task that starts meanwhile
// inherits would be left to chance. Any thread.
//
// While it lasts: a CFS quota has no effect; the host's limit on real-time tasks is lifted
// (recorder/rt_limit.h); other tasks of that CPU get what the container leaves over.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/blocker.h"
#include "base/cgroup.h"
#include "base/result.h"
#include "recorder/rt_limit.h"
#include "recorder/task_scheduling.h"

namespace migrate {

struct SerializeOptions {
  int init_pid = 0;
  std::string container_id;  // names the recording, and where its cgroups end
  std::filesystem::path freezer_cgroup;
  int cpu = -1;  // -1: the one that is idle most (takes kCpuLoadSample)
};

struct SerializeUndo {
  std::string container_id;
  std::filesystem::path freezer_cgroup;
  int cpu = -1;
  std::vector<CpusetState> cpusets;  // empty: no cpuset controller; tasks are confined one by one
  std::vector<TaskScheduling> tasks;

  std::string ToJson() const;
  static Result<SerializeUndo> FromJson(std::string_view json);
  bool operator==(const SerializeUndo&) const = default;
};

// Changes nothing.
Result<SerializeUndo> PlanSerialize(const SerializeOptions& options);
// On failure everything has been put back.
Result<> Serialize(const SerializeUndo& undo, const RtLimitPlaces& places = {});
// Goes on after a failure and returns the first. Tasks that are not in `undo` get what the process
// that they come from has: their own, else that of the nearest ancestor, else SCHED_OTHER.
Result<> UndoSerialize(const SerializeUndo& undo, const RtLimitPlaces& places = {});

struct SerializeCheck {
  // Codes: NO_REALTIME (not allowed here), DEADLINE_TASK, CPU_OUTSIDE_CPUSET.
  std::vector<Blocker> blockers;
  // Codes: CPU_QUOTA (has no effect while recording), REALTIME_TASKS (lose their priorities),
  // SINGLE_CPU_HOST (the recorder shares the CPU with the container).
  std::vector<Blocker> notes;
};
SerializeCheck CheckSerialize(const SerializeOptions& options);

// The CPUs of its cpuset.
Result<std::vector<int>> CpusOfTask(int pid);

}  // namespace migrate
