// Lineages and relays: how a container that went from host to host is still reached by those who
// know an earlier host, and what of it each host remembers. The mechanism is network/relay.h; here
// is the bookkeeping, in the journal and in what travels with the container.
//
// A *lineage* is one container through all its moves. Each host that it left is the *origin* of at
// most one relay of the lineage, used again at every later departure from there. Connections belong
// to the relay through which they came; those of no relay belong to the host where the container
// is.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/blocker.h"
#include "base/result.h"
#include "migrated/docker/container_spec.h"
#include "migrated/network/relay.h"
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
// For the preflight: what the relay will not do.
std::vector<std::string> RelayNotes(Node& node, const ContainerSpec& spec);
// The relay that this host will be the origin of, with ports and addresses, not yet set up; without
// an id if the container has no network.
Result<v1::Relay> PrepareOwnRelay(Node& node, const ContainerInfo& container,
                                  const std::string& lineage_id, const PeerClient& peer);
// The container is frozen and locked. Shares its connections out, `own` (if it has an id) included.
Result<v1::Lineage> LineageAtFreeze(FdRef netns, v1::Lineage lineage, v1::Relay own);
// The addresses of the relay that lie on a bridge of this host and belong to no other container.
Result<std::vector<StandIn>> StandInsOf(Node& node, const v1::Relay& relay,
                                        const std::string& container_name);
// After the commit point; repeatable. The other origins are told by relay_leads.h. `stand_ins`:
// StandInsOf(), unless they are known.
Result<> SetUpOwnRelay(Node& node, const v1::MigrationRecord& record,
                       std::optional<std::vector<StandIn>> stand_ins);
// The reverse of SetUpOwnRelay(): the container goes on here after all. Repeatable; what fails is
// logged, since the container goes on in any case.
void TakeBackOwnRelay(Node& node, const v1::MigrationRecord& record);
// The source container has ended: renamed and kept, or removed; the lineage written down.
Result<> LeaveSourceBehind(Node& node, v1::MigrationRecord& record, Progress& progress);
std::vector<RelayPort> RelayPortsOf(const v1::Relay& relay);
std::vector<std::string> DescribeRelays(Node& node, const v1::Lineage& lineage);

// --- at the target ---

Result<std::set<std::string>> VolumesOfLineage(Node& node, const std::string& lineage_id);
// For the restore ticket: network/relay_plan.h as text.
Result<std::string> ContainerNetworkPlan(Node& node, const v1::MigrationRecord& record);
// After the commit point: what leads traffic of this host to the replica.
Result<> ConnectContainerNetwork(Node& node, const v1::MigrationRecord& record);
// For the next `docker start` of the container that lives here (oci_runtime/standing_plan.h).
Result<> WriteStandingPlans(Node& node);
Result<> UpdateStandingPlan(Node& node, const v1::LineageRecord& record);
// The container lives here now; what an earlier stay left is removed.
Result<> SettleLineage(Node& node, const v1::MigrationRecord& record);

// --- at an origin ---

// `cancelled`: nobody waits for it any more.
Result<v1::RepointRelayReply> RepointOwnRelay(Node& node, const v1::RepointRelayRequest& request,
                                              const std::function<bool()>& cancelled);
Result<> RemoveOwnRelay(Node& node, const v1::Relay& relay);
// relay_holds.cc: holds what comes in through this origin while the container moves elsewhere.
Result<v1::HoldRelayReply> HoldRelayFor(Node& node, const v1::HoldRelayRequest& request);
Result<v1::ReleaseHoldReply> ReleaseHoldFor(Node& node, const v1::ReleaseHoldRequest& request);

// relay_commands.cc, for the operator: what this host does for containers that left it.
Result<v1::ListRelaysResponse> ListRelays(Node& node);
Result<v1::RemoveRelayResponse> RemoveRelay(Node& node, const v1::RemoveRelayRequest& request);

// --- where the container is ---

// relay_commands.cc: the origin ends its relay. Connections through it end with an error.
Result<v1::RemoveRelaySideReply> RemoveRelaySide(Node& node,
                                                 const v1::RemoveRelaySideRequest& request);

}  // namespace migrate
