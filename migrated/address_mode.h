// `--network=address`: the container keeps its address at the target. The mechanism is
// network/address_move.h; here is what of it each host does in a migration. Connections that the
// source host translates (published ports, masquerading) cannot go the direct way: they keep a
// relay.
//
// The facts travel in v1::AddressMove, which both journals keep, so that every step can be repeated
// by a fresh daemon. Thread-safe.
#pragma once

#include <vector>

#include "base/blocker.h"
#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/docker/container_spec.h"
#include "migrated/docker/docker_types.h"
#include "migrated/node.h"
#include "proto/journal.pb.h"
#include "proto/peer.pb.h"

namespace migrate {

inline bool IsAddressMode(const v1::MigrationOptions& options) {
  return options.network_mode() == v1::NETWORK_MODE_ADDRESS;
}

// To be asked of both hosts; `role` is this one's, `other` the endpoint of the other one's daemon.
std::vector<Blocker> AddressModeBlockers(const ContainerSpec& spec, const std::string& other,
                                         v1::Role role);

// --- at the source ---

// Before the freeze.
Result<v1::AddressMove> PlanAddressMove(Node& node, const ContainerInfo& container,
                                        const std::string& lineage_id, const std::string& target);
// Frozen and locked: takes the connections that need no relay out of this host's own one, and the
// relay out of the lineage if nothing is left for it to do.
Result<> ShareOutConnections(Node& node, FdRef container_netns, v1::AddressMove& move,
                             v1::Lineage& lineage);
// Frozen and locked; what takes time. Undone by the ADDRESS_ROUTE item of the undo list.
Result<> PrepareAddressAway(const v1::AddressMove& move);
// After the commit point, before the replica runs; repeatable. `own_relay_id`: of this host's own
// relay, under which it stood in for the address since the freeze (network/stand_in.h).
Result<> LeadAddressAway(const v1::AddressMove& move, const std::string& own_relay_id);
// When the source container has ended.
Result<> SettleAddressAway(const v1::AddressMove& move);

// --- at the target ---

// The replica is restored and locked.
Result<> PrepareAddress(const v1::AddressMove& move);
// After the commit point, before and after the replica's network is unlocked. To be announced a few
// times, since a neighbour may miss one.
Result<> ActivateAddress(const v1::AddressMove& move);
Result<> AnnounceAddress(const v1::AddressMove& move, FdRef container_netns);

}  // namespace migrate
