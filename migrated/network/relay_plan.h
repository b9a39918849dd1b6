// The container sides of all relays of a replica, as text: the daemon writes it, the OCI hook that
// runs in the middle of the restore carries it out, between the engine's set-up of the interfaces
// and CRIU's restore of the sockets.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/relay.h"

namespace migrate {

struct RelayPlanEntry {
  ContainerSide side;
  // The host is the relay's origin: home_interface is the one with the default route.
  bool at_home = false;

  bool operator==(const RelayPlanEntry&) const = default;
};

std::string RelayPlanToJson(const std::vector<RelayPlanEntry>& plan);
Result<std::vector<RelayPlanEntry>> RelayPlanFromJson(std::string_view text);

Result<RelayWarnings> SetUpRelayPlan(FdRef host_netns, FdRef container_netns,
                                     std::vector<RelayPlanEntry> plan);

}  // namespace migrate
