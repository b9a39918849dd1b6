// A container's log files as a tree to be shipped (docker/log_files.h knows where they are): the
// container's directory without everything else that is in it, and their place at the target.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/docker/create_on_target.h"
#include "migrated/docker/docker_types.h"

namespace migrate {

struct LogTree {
  std::string directory;
  std::vector<std::string> excludes;
};

// None for a driver that keeps no files.
Result<std::optional<LogTree>> LogTreeOf(const ContainerInfo& container,
                                         const std::string& docker_root);

// Copies what arrived in `staging` to where the engine looks for the logs of the replica, which
// has never been started.
Result<> PlaceLogs(const std::string& staging, const std::string& source_id,
                   const CreatedContainer& replica);

}  // namespace migrate
