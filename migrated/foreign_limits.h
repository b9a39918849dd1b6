// CRIU reads the resource limits of each process that it dumps. For a process of another user than
// root the kernel asks for CAP_SYS_RESOURCE, which some sandboxes and virtual machines withhold
// from their root: then nothing that dropped root can be dumped. Found here before anything is
// touched. Thread-safe; blocks.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace migrate {

// Of these processes the ones whose limits this program may not read.
std::vector<int> WithUnreadableLimits(const std::vector<int>& processes);

// Whether this CRIU can dump a process of another user; it may be wrapped into something that
// reads the limits elsewhere. Costs nothing where this program may read them itself; otherwise
// CRIU dumps a process made for it, some 100 ms. kFailedPrecondition says why not.
Result<> CheckForeignLimits(const std::string& criu_program);

}  // namespace migrate
