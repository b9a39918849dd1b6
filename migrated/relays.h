// Lineages and relays: how a container that went from host to host is still reached by those who
// know an earlier host, and what of it each host remembers. The mechanism is network/relay.h; here
// is the bookkeeping, in the journal and in what travels with the container.
//
// A *lineage* is one container through all its moves. Each host that it left is the *origin* of at
// most one relay of the lineage, used again at every later departure from there. Connections belong
// to the relay through which they came; those of no relay belong to the host where the container
// is.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/blocker.h"
#include "base/result.h"
#include "migrated/docker/container_spec.h"
#include "migrated/network/sockets.h"
#include "migrated/node.h"
#include "migrated/progress.h"
#include "proto/journal.pb.h"
#include "proto/peer.pb.h"

namespace migrate {

// What this host remembers of a lineage; an empty record if nothing.
Result<v1::LineageRecord> LineageRecordOf(Node& node, const std::string& lineage_id);

// Pure: shares the connections that are alive at the freeze out among the relays. What belongs to
// none is the origin's own, which is returned.
std::vector<v1::TcpEndpointPair> DistributeConnections(v1::Lineage& lineage,
                                                       const std::vector<Connection>& alive,
                                                       const std::string& own_relay_id);

// --- at the source ---

// A new one for a container that has never moved.
Result<v1::Lineage> LineageOf(Node& node, const std::string& container_id);
std::vector<Blocker> RelayBlockers(Node& node, const ContainerSpec& spec);
// The container is frozen and locked. Adds this host's own relay, not yet set up.
Result<v1::Lineage> LineageAtFreeze(Node& node, const ContainerInfo& container, FdRef netns,
                                    const PeerClient& peer, v1::Lineage lineage);
// After the commit point; repeatable. Also tells the other origins where the container is now.
Result<> SetUpOwnRelay(Node& node, const v1::MigrationRecord& record);
// The source container has ended: renamed and kept, or removed; the lineage written down.
Result<> LeaveSourceBehind(Node& node, v1::MigrationRecord& record, Progress& progress);
std::vector<std::string> DescribeRelays(Node& node, const v1::Lineage& lineage);

// --- at the target ---

Result<std::set<std::string>> VolumesOfLineage(Node& node, const std::string& lineage_id);
// For the restore ticket: network/relay_plan.h as text.
Result<std::string> ContainerNetworkPlan(Node& node, const v1::MigrationRecord& record);
// After the commit point: what leads traffic of this host to the replica.
Result<> ConnectContainerNetwork(Node& node, const v1::MigrationRecord& record);
// The container lives here now; what an earlier stay left is removed.
Result<> SettleLineage(Node& node, const v1::MigrationRecord& record);

// --- at an origin ---

Result<v1::RepointRelayReply> RepointOwnRelay(Node& node, const v1::RepointRelayRequest& request);
Result<> RemoveOwnRelay(Node& node, const v1::Relay& relay);

}  // namespace migrate
