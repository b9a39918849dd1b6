// The bookkeeping half of relays.h: which connection belongs to which relay, and what each host
// remembers of a container that came or went.
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

#include "base/ids.h"
#include "migrated/relays.h"

namespace migrate {
namespace {

constexpr auto kEngineNotices = std::chrono::seconds(10);
constexpr auto kEnginePoll = std::chrono::milliseconds(20);

bool Same(const v1::TcpEndpointPair& pair, const Connection& connection) {
  return pair.protocol() == ProtocolName(connection.protocol) &&
         pair.local_address() == connection.local_address &&
         pair.local_port() == connection.local_port &&
         pair.remote_address() == connection.remote_address &&
         pair.remote_port() == connection.remote_port;
}

v1::TcpEndpointPair ToProto(const Connection& connection) {
  v1::TcpEndpointPair pair;
  pair.set_protocol(ProtocolName(connection.protocol));
  pair.set_local_address(connection.local_address);
  pair.set_local_port(connection.local_port);
  pair.set_remote_address(connection.remote_address);
  pair.set_remote_port(connection.remote_port);
  return pair;
}

bool CameThrough(const v1::Relay& relay, const Connection& connection) {
  return connection.local_address == relay.relay_address() ||
         connection.local_address == relay.relay_address6() ||
         std::any_of(relay.connections().begin(), relay.connections().end(),
                     [&](const auto& pair) { return Same(pair, connection); });
}

// The engine learns of the end of the frozen, killed container on its own.
void WaitUntilStopped(Node& node, const std::string& id) {
  const auto until = std::chrono::steady_clock::now() + kEngineNotices;
  while (std::chrono::steady_clock::now() < until) {
    const auto info = node.docker().InspectContainer(id);
    if (!info || !info->running) {
      return;
    }
    std::this_thread::sleep_for(kEnginePoll);
  }
}

Result<> RenameAsMoved(Node& node, const v1::MigrationRecord& record, Progress& progress) {
  const std::string& id = record.migration().container_id();
  const std::string name = record.final_name() + "-moved-" + record.migration().id().substr(0, 8);
  const Result<> renamed = node.docker().RenameContainer(id, name);
  if (!renamed) {
    // Removed already: by --rm of docker run, or by somebody who was quicker.
    return renamed.error().code == ErrorCode::kNotFound ? Result<>() : renamed;
  }
  progress.Update([&](v1::Migration& migration) { migration.set_source_container_left(name); });
  return {};
}

}  // namespace

std::vector<v1::TcpEndpointPair> DistributeConnections(v1::Lineage& lineage,
                                                       const std::vector<Connection>& alive,
                                                       const std::string& own_relay_id) {
  std::vector<v1::TcpEndpointPair> own;
  std::vector<std::vector<v1::TcpEndpointPair>> shares(
      static_cast<std::size_t>(lineage.relays_size()));
  for (const Connection& connection : alive) {
    bool foreign = false;
    for (int i = 0; i < lineage.relays_size() && !foreign; ++i) {
      const v1::Relay& relay = lineage.relays(i);
      if (relay.id() != own_relay_id && CameThrough(relay, connection)) {
        shares[static_cast<std::size_t>(i)].push_back(ToProto(connection));
        foreign = true;
      }
    }
    if (!foreign) {
      own.push_back(ToProto(connection));
    }
  }
  for (int i = 0; i < lineage.relays_size(); ++i) {
    auto* connections = lineage.mutable_relays(i)->mutable_connections();
    connections->Clear();
    for (v1::TcpEndpointPair& pair : shares[static_cast<std::size_t>(i)]) {
      *connections->Add() = std::move(pair);
    }
  }
  return own;
}

Result<v1::LineageRecord> LineageRecordOf(Node& node, const std::string& lineage_id) {
  for (v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    if (record.lineage().id() == lineage_id) {
      return std::move(record);
    }
  }
  v1::LineageRecord record;
  record.mutable_lineage()->set_id(lineage_id);
  return record;
}

Result<v1::Lineage> LineageOf(Node& node, const std::string& container_id) {
  if (const auto record = TRY(node.journal().FindLineage(container_id))) {
    return record->lineage();
  }
  v1::Lineage lineage;
  lineage.set_id(NewMigrationId());
  return lineage;
}

Result<std::set<std::string>> VolumesOfLineage(Node& node, const std::string& lineage_id) {
  std::set<std::string> volumes;
  for (const v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    if (record.lineage().id() == lineage_id && record.moved_away()) {
      volumes.insert(record.volumes().begin(), record.volumes().end());
    }
  }
  return volumes;
}

Result<> LeaveSourceBehind(Node& node, v1::MigrationRecord& record, Progress& progress) {
  const std::string& id = record.migration().container_id();
  WaitUntilStopped(node, id);
  v1::LineageRecord left = TRY(LineageRecordOf(node, record.lineage().id()));
  *left.mutable_lineage() = record.lineage();
  left.set_container_id(id);
  left.set_moved_away(true);
  left.clear_relays_to_lead();
  left.set_location(record.migration().peer());
  left.set_network_mode(record.migration().options().network_mode());
  *left.mutable_since() = google::protobuf::util::TimeUtil::GetCurrentTime();
  left.clear_volumes();
  if (auto info = node.docker().InspectContainer(id)) {
    for (const MountPoint& mount : info->mounts) {
      if (mount.type == "volume") {
        left.add_volumes(mount.name);
      } else if (mount.type == "bind") {
        left.add_volumes(mount.source);
      }
    }
  }
  TRY(node.journal().Put(left));
  TRY(UpdateStandingPlan(node, left));
  if (record.migration().options().remove_source()) {
    Result<> removed = node.docker().RemoveContainer(id, /*force=*/false, /*volumes=*/true);
    if (!removed && removed.error().code != ErrorCode::kNotFound) {
      return removed;
    }
    return {};
  }
  return RenameAsMoved(node, record, progress);
}

Result<> SettleLineage(Node& node, const v1::MigrationRecord& record) {
  v1::LineageRecord here;
  for (v1::LineageRecord& earlier : TRY(node.journal().Lineages())) {
    if (earlier.lineage().id() != record.lineage().id()) {
      continue;
    }
    here = std::move(earlier);
    if (here.moved_away() && here.container_id() != record.replica_id()) {
      // The remains of the container that left from here: it is back.
      Result<> removed =
          node.docker().RemoveContainer(here.container_id(), /*force=*/false, /*volumes=*/true);
      if (!removed && removed.error().code != ErrorCode::kNotFound) {
        spdlog::warn("{}: {}", here.container_id(), removed.error().message);
      }
    }
  }
  *here.mutable_lineage() = record.lineage();
  here.set_container_id(record.replica_id());
  here.set_moved_away(false);
  here.clear_location();
  here.clear_volumes();
  *here.mutable_relays_to_lead() = record.relays_to_lead();
  TRY(node.journal().Put(here));
  return UpdateStandingPlan(node, here);
}

}  // namespace migrate
