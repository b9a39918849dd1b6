// Runs a function inside another network namespace, on a thread of its own, so that no thread of
// the program ever changes its own namespace for longer than the call. Sockets opened inside keep
// belonging to that namespace. Blocks the caller; thread-safe.
#pragma once

#include <functional>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

Result<OwnedFd> OpenNetns(int pid);  // /proc/PID/ns/net

Result<> InNetns(FdRef netns, const std::function<Result<>()>& function);

}  // namespace migrate
