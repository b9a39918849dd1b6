// Periodic timerfds that had expired, and had not been read, when they were checkpointed. The
// kernel arms such a timer again when it is read; CRIU restores it disarmed with its expirations,
// and after the read nothing arms it any more. This does, from outside, before the replica runs.
// Thread-safe.
#pragma once

#include <vector>

#include "base/result.h"

namespace migrate {

// The number of timers that were armed again.
Result<int> RearmExpiredTimers(const std::vector<int>& processes);

}  // namespace migrate
