// Everything that is looked at before anything is touched: the container, this host, the other one.
// Used by `migrate preflight` and by the first step of every migration. Reads only, except that a
// preflight that is not dry reserves the migration at the target.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "migrated/docker/container_spec.h"
#include "migrated/node.h"
#include "migrated/tree_shipper.h"
#include "proto/control.pb.h"
#include "proto/peer.pb.h"

namespace migrate {

struct SourceInspection {
  ContainerInfo container;
  ContainerSpec spec;
  v1::Lineage lineage;
  std::vector<v1::Blocker> blockers;
  std::vector<std::string> notes;
  std::uint64_t memory_bytes = 0;  // resident, an upper bound of the image
  std::uint64_t file_bytes = 0;
};

// Connections to the container that end with the move: proxy_connections.h.
Result<int> CountProxied(const ContainerInfo& container);

Result<SourceInspection> InspectSource(Node& node, const std::string& container,
                                       const v1::MigrationOptions& options);

// Handshake and Prepare. What speaks against the target is in the reply's blockers; an Error means
// that it could not be asked.
Result<v1::PrepareReply> InspectTarget(Node& node, PeerClient& peer,
                                       const SourceInspection& inspection,
                                       const v1::MigrationOptions& options,
                                       const std::string& migration_id, bool dry_run,
                                       const std::stop_token& stop);

// The target's part of Prepare.
Result<> FindTargetBlockers(Node& node, const ContainerSpec& spec,
                            const v1::PrepareRequest& request, v1::PrepareReply& reply);

Result<v1::PreflightResponse> RunPreflight(Node& node, const v1::PreflightRequest& request);

// What of the container's files has to travel.
Result<std::vector<ShippedTree>> ContainerTrees(Node& node, const ContainerInfo& container,
                                                const ContainerSpec& spec,
                                                const v1::MigrationOptions& options);

}  // namespace migrate
