// `migrate relay`: what this host does for containers that left it, and the clean end of that. The
// set-up and the bookkeeping of a move are in relays.cc and lineage.cc.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "base/netns.h"
#include "migrated/network/address_move.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/relay_plan.h"
#include "migrated/oci_runtime/standing_plan.h"
#include "migrated/relays.h"
#include "migrated/resolve.h"

namespace migrate {
namespace {

constexpr std::uint8_t kConntrackEstablished = 3;
constexpr std::size_t kShortId = 12;

std::string IdOf(const v1::LineageRecord& record) {
  return record.own_relay().id().empty() ? record.lineage().id() : record.own_relay().id();
}

bool UsesRelay(const ConntrackEntry& entry, const v1::Relay& relay) {
  const bool alive =
      entry.protocol == Protocol::kUdp ? entry.assured : entry.tcp_state == kConntrackEstablished;
  const auto is_relay = [&](const std::string& address) {
    return address == relay.relay_address() || address == relay.relay_address6();
  };
  return alive && (is_relay(entry.reply.source_address) || is_relay(entry.original.source_address));
}

class HostState {
 public:
  static Result<HostState> Read() {
    HostState state;
    const OwnedFd host = TRY(OpenNetns(getpid()));
    state.entries_ = TRY(ListConntrack(host));
    state.relays_ = TRY(FindRelays(host)).relay_ids;
    state.routes_ = TRY(FindAddressRoutes(host)).routes;
    return state;
  }

  // Whether this host still does something, or has something on record, for the container. Where an
  // address moved on a shared network nothing is left.
  bool Lists(const v1::LineageRecord& record) const {
    return !record.own_relay().id().empty() || RouteOf(record) != nullptr ||
           (record.moved_away() && record.network_mode() == v1::NETWORK_MODE_HOOK);
  }

  v1::RelayInfo Describe(Node& node, const v1::LineageRecord& record) const {
    const v1::Relay& relay = record.own_relay();
    v1::RelayInfo info;
    info.set_id(IdOf(record));
    const AddressRoute* route = RouteOf(record);
    const bool hook = record.moved_away() && record.network_mode() == v1::NETWORK_MODE_HOOK;
    info.set_mode(route != nullptr ? v1::NETWORK_MODE_ADDRESS
                  : hook           ? v1::NETWORK_MODE_HOOK
                                   : v1::NETWORK_MODE_RELAY);
    info.set_container_id(record.container_id());
    const auto container = node.docker().InspectContainer(record.container_id());
    info.set_container_name(container ? container->name
                                      : record.container_id().substr(0, kShortId));
    info.set_origin_node(node.config().node_name);
    if (record.moved_away()) {
      info.set_location(record.location());
    }
    *info.mutable_ports() = relay.ports();
    *info.mutable_old_addresses() = relay.old_addresses();
    if (route != nullptr) {
      info.mutable_old_addresses()->Assign(route->addresses.begin(), route->addresses.end());
    }
    info.set_relay_address(relay.relay_address());
    if (record.has_since()) {
      *info.mutable_since() = record.since();
    }
    if (hook && record.hook_failed()) {
      info.set_problem("the hand-off hook failed");
    }
    if (relay.id().empty()) {
      return info;
    }
    info.set_connections(static_cast<std::uint32_t>(std::count_if(
        entries_.begin(), entries_.end(),
        [&](const ConntrackEntry& entry) { return UsesRelay(entry, relay); })));
    if (std::find(relays_.begin(), relays_.end(), relay.id()) == relays_.end()) {
      info.set_problem("its rules are gone from this host's kernel: nothing is led on");
    }
    return info;
  }

 private:
  const AddressRoute* RouteOf(const v1::LineageRecord& record) const {
    const auto found = std::find_if(routes_.begin(), routes_.end(), [&](const AddressRoute& route) {
      return route.id == record.lineage().id();
    });
    return found == routes_.end() ? nullptr : &*found;
  }

  std::vector<ConntrackEntry> entries_;
  std::vector<std::string> relays_;
  std::vector<AddressRoute> routes_;
};

bool Names(const v1::RelayInfo& info, const std::string& text) {
  return !text.empty() && (info.id().starts_with(text) || info.container_name() == text ||
                           info.container_name().starts_with(text + "-moved-") ||
                           (text.size() >= kShortId && info.container_id().starts_with(text)));
}

struct Listed {
  v1::LineageRecord record;
  v1::RelayInfo info;
};

Result<std::vector<Listed>> AllListed(Node& node) {
  const HostState state = TRY(HostState::Read());
  std::vector<Listed> all;
  for (v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    if (state.Lists(record)) {
      v1::RelayInfo info = state.Describe(node, record);
      all.push_back({std::move(record), std::move(info)});
    }
  }
  return all;
}

Result<Listed> FindListed(Node& node, const std::string& text) {
  std::vector<Listed> found;
  for (Listed& listed : TRY(AllListed(node))) {
    if (Names(listed.info, text)) {
      found.push_back(std::move(listed));
    }
  }
  if (found.empty()) {
    return MakeError(ErrorCode::kNotFound,
                     "no relay '" + text + "' on this host; `migrate relay list` shows all",
                     "UNKNOWN_RELAY");
  }
  if (found.size() > 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'" + text + "' may be " + found[0].info.id() + " or " + found[1].info.id() +
                         ": give more of the id",
                     "AMBIGUOUS_RELAY");
  }
  return std::move(found.front());
}

// While the container moves its relays are in its luggage.
Result<> CheckNotMoving(Node& node, const std::string& lineage_id) {
  for (const v1::MigrationRecord& record : TRY(node.journal().Migrations())) {
    if (record.lineage().id() == lineage_id && !HasEnded(record.migration())) {
      return MakeError(ErrorCode::kAborted,
                       "the container is being migrated (" + record.migration().id() +
                           "); try again when that is over",
                       "ALREADY_MIGRATING");
    }
  }
  return {};
}

// The other end first: what is reset there is heard by the client through the relay.
Result<v1::RemoveRelaySideReply> RemoveOtherEnd(Node& node, const Listed& listed) {
  v1::RemoveRelaySideRequest request;
  request.set_relay_id(listed.info.id());
  if (!listed.record.moved_away()) {
    return RemoveRelaySide(node, request);
  }
  auto peer = node.ConnectPeer(listed.record.location());
  return peer ? (*peer)->RemoveRelaySide(request) : Result<v1::RemoveRelaySideReply>(peer.error());
}

void ForgetRelay(v1::LineageRecord& record, const std::string& id) {
  auto* relays = record.mutable_lineage()->mutable_relays();
  for (int i = relays->size() - 1; i >= 0; --i) {
    if (relays->Get(i).id() == id) {
      relays->DeleteSubrange(i, 1);
    }
  }
}

// For the next `docker start` of the container.
Result<> ForgetInStandingPlan(Node& node, const std::string& container_id, const std::string& id) {
  const std::string& directory = node.config().runtime_state_dir;
  const auto text = ReadStandingPlan(directory, container_id);
  if (!text) {
    return {};
  }
  std::vector<RelayPlanEntry> plan = TRY(RelayPlanFromJson(*text));
  std::erase_if(plan, [&](const RelayPlanEntry& entry) { return entry.side.relay.id == id; });
  return WriteStandingPlan(directory, container_id, plan.empty() ? "" : RelayPlanToJson(plan));
}

bool CameThrough(const v1::Relay& relay, const Connection& connection) {
  if (connection.local_address == relay.relay_address() ||
      connection.local_address == relay.relay_address6()) {
    return true;
  }
  return std::any_of(relay.connections().begin(), relay.connections().end(), [&](const auto& pair) {
    return pair.protocol() == ProtocolName(connection.protocol) &&
           pair.local_address() == connection.local_address &&
           pair.local_port() == connection.local_port &&
           pair.remote_address() == connection.remote_address &&
           pair.remote_port() == connection.remote_port;
  });
}

// In the namespace of the container, if it runs.
Result<int> EndContainerSide(Node& node, const v1::LineageRecord& record, const v1::Relay& relay) {
  const auto info = node.docker().InspectContainer(record.container_id());
  if (!info) {
    return info.error().code == ErrorCode::kNotFound ? Result<int>(0) : Result<int>(info.error());
  }
  if (!info->running) {
    return 0;
  }
  const OwnedFd netns = TRY(OpenNetns(info->pid));
  const auto ended = EndConnections(
      netns, [&](const Connection& connection) { return CameThrough(relay, connection); });
  if (!ended) {
    spdlog::warn("relay {}: its connections are left to time out: {}", relay.id(),
                 ended.error().message);
  }
  TRY(RemoveContainerSide(netns, relay.id()));
  return ended.value_or(0);
}

Result<> RemoveHere(Node& node, const Listed& listed) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  TRY(RemoveAddressRoute(host, listed.record.lineage().id()));
  if (!listed.record.own_relay().id().empty()) {
    TRY(RemoveOwnRelay(node, listed.record.own_relay()));
  }
  v1::LineageRecord left = TRY(LineageRecordOf(node, listed.record.lineage().id()));
  left.clear_own_relay();
  left.clear_network_mode();
  left.clear_hook_failed();
  ForgetRelay(left, listed.info.id());
  return node.journal().Put(left);
}

}  // namespace

Result<v1::ListRelaysResponse> ListRelays(Node& node) {
  v1::ListRelaysResponse response;
  for (Listed& listed : TRY(AllListed(node))) {
    *response.add_relays() = std::move(listed.info);
  }
  return response;
}

Result<v1::RemoveRelayResponse> RemoveRelay(Node& node, const v1::RemoveRelayRequest& request) {
  const Listed listed = TRY(FindListed(node, request.relay()));
  TRY(CheckNotMoving(node, listed.record.lineage().id()));
  v1::RemoveRelayResponse response;
  *response.mutable_relay() = listed.info;
  if (listed.info.connections() > 0 && !request.force()) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     std::to_string(listed.info.connections()) + " connections go through relay " +
                         listed.info.id() + " of " + listed.info.container_name() +
                         "; --force ends them",
                     "RELAY_IN_USE");
  }
  if (!listed.record.own_relay().id().empty()) {
    if (auto other = RemoveOtherEnd(node, listed)) {
      response.set_connections_ended(other->connections_ended());
    } else if (request.force()) {
      response.add_warnings("the end of the relay at " + listed.record.location() +
                            " stays until the container ends or moves: " + other.error().message);
    } else {
      return std::move(other).error().WithContext(
          "the end of the relay at " + listed.record.location() +
          " cannot be removed (--force removes the one here alone)");
    }
  }
  TRY(RemoveHere(node, listed));
  spdlog::info("relay {} of {} removed, {} connections ended", listed.info.id(),
               listed.info.container_name(), response.connections_ended());
  return response;
}

Result<v1::RemoveRelaySideReply> RemoveRelaySide(Node& node,
                                                 const v1::RemoveRelaySideRequest& request) {
  v1::RemoveRelaySideReply reply;
  for (v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    const auto& relays = record.lineage().relays();
    const auto relay = std::find_if(relays.begin(), relays.end(), [&](const v1::Relay& candidate) {
      return candidate.id() == request.relay_id();
    });
    if (relay == relays.end()) {
      continue;
    }
    if (record.moved_away()) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       "the container has moved on to " + record.location(), "MOVED_ON");
    }
    TRY(CheckNotMoving(node, record.lineage().id()));
    reply.set_known(true);
    reply.set_connections_ended(
        static_cast<std::uint32_t>(TRY(EndContainerSide(node, record, *relay))));
    TRY(ForgetInStandingPlan(node, record.container_id(), request.relay_id()));
    ForgetRelay(record, request.relay_id());
    TRY(node.journal().Put(record));
  }
  return reply;
}

}  // namespace migrate
