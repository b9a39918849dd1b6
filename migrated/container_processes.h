// What the source's daemon looks up in /proc about a container's processes. Reads only. A process
// may end at any time; what it was asked for is then left out. Thread-safe.
#pragma once

#include <set>
#include <string>

#include "base/result.h"

namespace migrate {

// Start time of a process in clock ticks, as text: with the pid it names one process for ever.
Result<std::string> StartTimeOf(int pid);

// 'R', 'S', 'T', ... of one task.
Result<char> TaskState(int task);

// Files that some process of the cgroup has mapped shared and writable, as paths in the container:
// their content can change without a change of ctime.
std::set<std::string> SharedWritableFiles(const std::string& cgroup);

// Waits until what the container wrote to its stdout and stderr has been read by Docker, so that
// the log is complete. The container is frozen. Gives up silently after a short while.
void WaitForLogsToSettle(int init_pid);

// Processes in the cgroup that do not descend from init come from `docker exec` or a health check
// and cannot be checkpointed: waits a moment for them to end. kFailedPrecondition names one that
// does not.
Result<> WaitForExecsToEnd(int init_pid, const std::string& cgroup);

}  // namespace migrate
