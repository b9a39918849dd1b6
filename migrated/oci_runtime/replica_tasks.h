// The processes of a replica that was restored with leave-stopped: who is to run, and setting them
// going. No state; any thread.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"

namespace migrate {

// SIGCONT to every process of the container's freezer cgroup (base/cgroup.h) but those that were
// stopped at the checkpoint already. `stopped` are their ids inside the container, from
// ReadStoppedProcesses (base/criu_files.h). Children before parents: a shell that finds its child
// stopped would take it for a Ctrl-Z. A process that is gone is fine; calling it twice is, too.
Result<> ResumeReplica(const std::filesystem::path& cgroup, const std::vector<int>& stopped);

}  // namespace migrate
