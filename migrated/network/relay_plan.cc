#include "migrated/network/relay_plan.h"

#include <nlohmann/json.hpp>

#include "migrated/network/in_netns.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using nlohmann::json;

// nlohmann finds these by name.
// With defaults: plans that an earlier version wrote have no R6.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RelaySpec, id, relay_address, relay_address6, vni,
                                                udp_port, mtu)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Connection, protocol, local_address, local_port, remote_address,
                                   remote_port)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BoundPort, protocol, address, port)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ContainerSide, relay, home_interface, local_address,
                                   remote_address, old_addresses, connections, bound)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RelayPlanEntry, side, at_home)

namespace {

// The interface through which the container reaches the world; with several networks, replies of
// home connections leave by it as well.
Result<std::string> DefaultLink() {
  auto rtnl = TRY(Rtnl::Open());
  for (auto& route : TRY(rtnl.Routes())) {
    if (route.destination.ends_with("/0") && !route.link.empty()) {
      return std::move(route.link);
    }
  }
  return MakeError(ErrorCode::kNotFound, "the container has no default route");
}

}  // namespace

std::string RelayPlanToJson(const std::vector<RelayPlanEntry>& plan) { return json(plan).dump(); }

Result<std::vector<RelayPlanEntry>> RelayPlanFromJson(std::string_view text) {
  try {
    return json::parse(text).get<std::vector<RelayPlanEntry>>();
  } catch (const json::exception& error) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("relay plan: ") + error.what());
  }
}

Result<RelayWarnings> SetUpRelayPlan(FdRef host_netns, FdRef container_netns,
                                     std::vector<RelayPlanEntry> plan) {
  RelayWarnings warnings;
  for (RelayPlanEntry& entry : plan) {
    if (entry.at_home) {
      entry.side.home_interface = TRY(ValueInNetns<std::string>(container_netns, DefaultLink));
    }
    for (auto& warning : TRY(SetUpContainerSide(host_netns, container_netns, entry.side))) {
      warnings.push_back("relay " + entry.side.relay.id + ": " + std::move(warning));
    }
  }
  return warnings;
}

}  // namespace migrate
