// The relays of a container that lives here, for its next start: `docker stop` takes the network
// namespace and the tunnels in it along, and `docker start` makes a new one, in which the runtime
// sets the tunnels up again. One file per container, <state dir>/relays/<id>.json, written by the
// daemon (network/relay_plan.h as text), also again when the daemon starts. Values; any thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace migrate {

// An empty plan removes the file.
Result<> WriteStandingPlan(const std::filesystem::path& state_dir, std::string_view container_id,
                           std::string_view plan);
Result<> RemoveStandingPlan(const std::filesystem::path& state_dir, std::string_view container_id);
// Nothing if there is none.
std::optional<std::string> ReadStandingPlan(const std::filesystem::path& state_dir,
                                            std::string_view container_id);

}  // namespace migrate
