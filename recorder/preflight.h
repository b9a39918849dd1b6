// What the processes of a container hold that makes a CRIU dump fail or that cannot move: found by
// reading /proc before anything is touched, all of it at once. A running container may open such a
// thing a moment later; then the checkpoint fails and the container runs on.
// Reading only (a socket is duplicated for a moment to ask for its kind); thread-safe. A process or
// cgroup that is gone meanwhile has nothing to report.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "base/blocker.h"

namespace migrate {

// `cgroup` is the container's freezer cgroup (base/cgroup.h). Codes: IO_URING, BPF, PERF_EVENT,
// USERFAULTFD, SECCOMP_NOTIFY, KVM, UNSUPPORTED_FILE, DEVICE, SECRET_MEMORY, UNSUPPORTED_SOCKET,
// TRACED, EXEC_SESSION, COMPAT_TASK, NESTED_PID_NAMESPACE, NESTED_USER_NAMESPACE.
std::vector<Blocker> InspectContainerTasks(int init_pid, const std::filesystem::path& cgroup);

// Only EXEC_SESSION: a process in the cgroup that does not descend from init. CRIU would leave such
// a process out of the image without a word.
std::optional<Blocker> FindExecSession(int init_pid, const std::filesystem::path& cgroup);

}  // namespace migrate
