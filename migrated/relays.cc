// The network half of relays.h: turns the records into calls of network/relay.h.
#include "migrated/relays.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <set>

#include "base/ids.h"
#include "base/netns.h"
#include "base/subnet.h"
#include "migrated/address_mode.h"
#include "migrated/docker/preflight.h"
#include "migrated/fault_point.h"
#include "migrated/network/address_move.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/host_facts.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_plan.h"
#include "migrated/oci_runtime/standing_plan.h"
#include "migrated/peer_address.h"
#include "migrated/relay_leads.h"

namespace migrate {
namespace {

Result<OwnedFd> HostNetns() { return OpenNetns(getpid()); }

RelaySpec ToSpec(const v1::Relay& relay) {
  RelaySpec spec = MakeRelaySpec(relay.id(), relay.relay_address());
  spec.relay_address6 = relay.relay_address6();
  spec.vni = relay.vni();
  spec.udp_port = static_cast<std::uint16_t>(relay.udp_port());
  return spec;
}

Protocol ToProtocol(const std::string& name) {
  return name == "udp" ? Protocol::kUdp : Protocol::kTcp;
}

std::vector<Connection> ToConnections(const v1::Relay& relay) {
  std::vector<Connection> connections;
  for (const v1::TcpEndpointPair& pair : relay.connections()) {
    connections.push_back({ToProtocol(pair.protocol()), pair.local_address(),
                           static_cast<std::uint16_t>(pair.local_port()), pair.remote_address(),
                           static_cast<std::uint16_t>(pair.remote_port())});
  }
  return connections;
}

std::vector<BoundPort> ToBound(const v1::Relay& relay) {
  std::vector<BoundPort> bound;
  for (const v1::TcpEndpointPair& pair : relay.bound()) {
    bound.push_back({ToProtocol(pair.protocol()), pair.local_address(),
                     static_cast<std::uint16_t>(pair.local_port())});
  }
  return bound;
}

std::vector<std::string> AddressesOf(const std::vector<StandIn>& stand_ins) {
  std::vector<std::string> addresses;
  for (const StandIn& stand_in : stand_ins) {
    addresses.push_back(stand_in.address);
  }
  return addresses;
}

void AddPorts(v1::Relay& relay, const ContainerInfo& container) {
  relay.clear_ports();
  for (const PublishedPort& port : container.ports) {
    const auto slash = port.container_port.find('/');
    unsigned number = 0;
    std::from_chars(port.container_port.data(), port.container_port.data() + slash, number);
    v1::PublishedPort* added = relay.add_ports();
    added->set_host_ip(port.host_ip);
    added->set_host_port(static_cast<std::uint32_t>(port.host_port));
    added->set_container_port(number);
    added->set_protocol(slash == std::string::npos ? "tcp" : port.container_port.substr(slash + 1));
    if (added->host_ip().find(':') != std::string::npos && relay.relay_address6().empty()) {
      // To a container without IPv6 it leads by way of Docker's proxy only, which ends with it.
      relay.mutable_ports()->RemoveLast();
    }
  }
}

void AddAddress(v1::Relay& relay, const std::string& address) {
  if (!address.empty() && address != relay.relay_address() && address != relay.relay_address6() &&
      std::find(relay.old_addresses().begin(), relay.old_addresses().end(), address) ==
          relay.old_addresses().end()) {
    relay.add_old_addresses(address);
  }
}

const v1::Relay* FindRelay(const v1::Lineage& lineage, const std::string& id) {
  for (const v1::Relay& relay : lineage.relays()) {
    if (relay.id() == id) {
      return &relay;
    }
  }
  return nullptr;
}

// The relay whose origin this host is: the one of an earlier departure, or a new one.
Result<v1::Relay> OwnRelay(Node& node, const v1::LineageRecord& record, const PeerClient& peer,
                           bool with_ipv6) {
  v1::Relay relay = record.own_relay();
  const OwnedFd host = TRY(HostNetns());
  const std::string remote = TRY(ResolveIpv4(peer.endpoint()));
  if (relay.id().empty()) {
    relay.set_id(NewMigrationId());
    relay.set_relay_address(TRY(ChooseRelayAddress(host, relay.id(), node.config().relay_subnet)));
    relay.set_vni(MakeRelaySpec(relay.id(), relay.relay_address()).vni);
    relay.set_udp_port(node.config().relay_udp_port);
  }
  relay.set_origin_node(node.config().node_name);
  relay.set_origin_endpoint(node.Describe().peer_endpoint());
  relay.set_origin_address(TRY(SourceAddressToward(host, remote)));
  relay.clear_old_addresses();
  if (with_ipv6) {
    relay.set_relay_address6(RelayAddress6(relay.relay_address()));
  }
  return relay;
}

ContainerSide ToContainerSide(const v1::Relay& relay) {
  ContainerSide side;
  side.relay = ToSpec(relay);
  side.old_addresses.assign(relay.old_addresses().begin(), relay.old_addresses().end());
  side.connections = ToConnections(relay);
  side.bound = ToBound(relay);
  return side;
}

// The container's address on a bridge of this host: that of its first network.
struct BridgePort {
  std::string address;
  std::string bridge;
  std::string address6;  // empty: none
  std::string bridge6;
  std::set<std::string> all;  // addresses, of all its networks
};
Result<BridgePort> BridgePortOf(Node& node, const std::string& container_id) {
  const ContainerInfo info = TRY(node.docker().InspectContainer(container_id));
  const OwnedFd host = TRY(HostNetns());
  BridgePort port;
  for (const Endpoint& endpoint : info.endpoints) {
    port.all.insert({endpoint.ipv4, endpoint.ipv6});
    if (!endpoint.ipv4.empty() && port.address.empty()) {
      port.address = endpoint.ipv4;
      port.bridge = TRY(LinkToward(host, endpoint.ipv4));
    }
    if (!endpoint.ipv6.empty() && port.address6.empty()) {
      if (auto bridge = LinkToward(host, endpoint.ipv6)) {
        port.address6 = endpoint.ipv6;
        port.bridge6 = *std::move(bridge);
      }
    }
  }
  if (port.address.empty()) {
    return MakeError(ErrorCode::kFailedPrecondition, "the replica has no IPv4 address");
  }
  return port;
}

// Only IPv6 is lost, hence no error.
void LogWarnings(const std::string& relay_id, const RelayWarnings& warnings) {
  for (const std::string& warning : warnings) {
    spdlog::warn("relay {}: {}", relay_id, warning);
  }
}

// Entries of connections that Docker's rules translate to the container are handed to the relay.
// Where the address itself moves, only what this host translates needs the relay.
Result<> MoveConntrack(FdRef host, const v1::Relay& relay, bool translated_only) {
  std::vector<std::string> from;
  std::vector<std::string> from6;
  for (const std::string& address : relay.old_addresses()) {
    (address.find(':') == std::string::npos ? from : from6).push_back(address);
  }
  std::vector<ConntrackEntry> entries = TRY(ListConntrack(host));
  if (translated_only) {
    std::erase_if(entries, [](const ConntrackEntry& entry) {
      return entry.original.destination_address == entry.reply.source_address &&
             entry.original.source_address == entry.reply.destination_address;
    });
  }
  auto moves = PlanConntrackMoves(entries, from, relay.relay_address(), ToConnections(relay));
  if (!relay.relay_address6().empty()) {
    auto moves6 = PlanConntrackMoves(entries, from6, relay.relay_address6(), ToConnections(relay));
    moves.insert(moves.end(), moves6.begin(), moves6.end());
  }
  const auto lost = TRY(ApplyConntrackMoves(host, moves));
  if (!lost.empty()) {
    spdlog::warn("relay {}: {} connections could not be taken along", relay.id(), lost.size());
  }
  return {};
}

}  // namespace

std::vector<RelayPort> RelayPortsOf(const v1::Relay& relay) {
  std::vector<RelayPort> ports;
  for (const v1::PublishedPort& port : relay.ports()) {
    ports.push_back({ToProtocol(port.protocol()), port.host_ip(),
                     static_cast<std::uint16_t>(port.host_port()),
                     static_cast<std::uint16_t>(port.container_port())});
  }
  return ports;
}

std::vector<Blocker> RelayBlockers(Node& node, const ContainerSpec& spec) {
  if (spec.networks.empty() ||
      std::all_of(spec.networks.begin(), spec.networks.end(),
                  [](const NetworkSpec& network) { return network.ipv4.empty(); })) {
    return {};
  }
  const auto host = HostNetns();
  const Result<> possible = host ? CheckOrigin(*host) : Result<>(host.error());
  if (possible) {
    return {};
  }
  return {{"RELAY_IMPOSSIBLE", node.config().node_name, possible.error().message,
           "clients of this host could not reach the container after the move"}};
}

std::vector<std::string> RelayNotes(Node& node, const ContainerSpec& spec) {
  if (std::all_of(spec.networks.begin(), spec.networks.end(),
                  [](const NetworkSpec& network) { return network.ipv6.empty(); })) {
    return {};
  }
  const auto host = HostNetns();
  const Result<> possible = host ? CheckOrigin6(*host) : Result<>(host.error());
  if (possible) {
    return {};
  }
  return {"clients that come through " + node.config().node_name +
          " over IPv6 will not reach it after the move: " + possible.error().message};
}

Result<v1::Relay> PrepareOwnRelay(Node& node, const ContainerInfo& container,
                                  const std::string& lineage_id, const PeerClient& peer) {
  const bool networked =
      std::any_of(container.endpoints.begin(), container.endpoints.end(),
                  [](const Endpoint& endpoint) { return !endpoint.ipv4.empty(); });
  if (!networked) {
    return v1::Relay();
  }
  const bool with_ipv6 =
      std::any_of(container.endpoints.begin(), container.endpoints.end(),
                  [](const Endpoint& endpoint) { return !endpoint.ipv6.empty(); });
  v1::Relay relay = TRY(OwnRelay(node, TRY(LineageRecordOf(node, lineage_id)), peer, with_ipv6));
  AddPorts(relay, container);
  for (const Endpoint& endpoint : container.endpoints) {
    AddAddress(relay, endpoint.ipv4);
    AddAddress(relay, endpoint.ipv6);
  }
  return relay;
}

Result<v1::Lineage> LineageAtFreeze(FdRef netns, v1::Lineage lineage, v1::Relay own) {
  const RelaySockets sockets = SelectRelaySockets(TRY(ListSockets(netns)));
  const auto connections = DistributeConnections(lineage, sockets.connections, own.id());
  if (own.id().empty()) {
    return lineage;
  }
  own.clear_connections();
  for (const v1::TcpEndpointPair& pair : connections) {
    AddAddress(own, pair.local_address());
    *own.add_connections() = pair;
  }
  own.clear_bound();
  for (const BoundPort& bound : sockets.bound) {
    v1::TcpEndpointPair* pair = own.add_bound();
    pair->set_protocol(ProtocolName(bound.protocol));
    pair->set_local_address(bound.address);
    pair->set_local_port(bound.port);
  }
  v1::Lineage result;
  result.set_id(lineage.id());
  for (const v1::Relay& other : lineage.relays()) {
    if (other.id() != own.id()) {
      *result.add_relays() = other;
    }
  }
  *result.add_relays() = std::move(own);
  return result;
}

Result<std::vector<StandIn>> StandInsOf(Node& node, const v1::Relay& relay,
                                        const std::string& container_name) {
  const OwnedFd host = TRY(HostNetns());
  const std::vector<NetworkInfo> networks = TRY(node.docker().ListNetworks());
  std::vector<StandIn> stand_ins;
  for (const std::string& address : relay.old_addresses()) {
    for (const NetworkInfo& listed : networks) {
      const bool contains =
          std::any_of(listed.subnets.begin(), listed.subnets.end(),
                      [&](const Subnet& subnet) { return SubnetContains(subnet.subnet, address); });
      if (listed.driver != "bridge" || !contains) {
        continue;
      }
      const NetworkInfo network = TRY(node.docker().InspectNetwork(listed.id));
      const auto user = network.addresses_in_use.find(address);
      const bool taken = user != network.addresses_in_use.end() && user->second != container_name;
      const auto bridge = LinkToward(host, address);
      if (!taken && bridge) {
        stand_ins.push_back({relay.id(), address, *bridge});
      }
    }
  }
  return stand_ins;
}

namespace {

const v1::Relay* OwnRelayIn(const Node& node, const v1::Lineage& lineage) {
  for (const v1::Relay& relay : lineage.relays()) {
    if (relay.origin_node() == node.config().node_name) {
      return &relay;
    }
  }
  return nullptr;
}

}  // namespace

Result<> SetUpOwnRelay(Node& node, const v1::MigrationRecord& record,
                       std::optional<std::vector<StandIn>> stand_ins) {
  const std::string remote = TRY(ResolveIpv4(record.migration().peer()));
  const v1::Relay* relay = OwnRelayIn(node, record.lineage());
  if (relay == nullptr) {
    return {};
  }
  // Written down first: a fresh daemon, and `migrate gc`, find it there.
  v1::LineageRecord lineage = TRY(LineageRecordOf(node, record.lineage().id()));
  *lineage.mutable_own_relay() = *relay;
  if (lineage.container_id().empty()) {
    lineage.set_container_id(record.migration().container_id());
  }
  TRY(node.journal().Put(lineage));
  OriginSide side;
  side.relay = ToSpec(*relay);
  side.local_address = relay->origin_address();
  side.remote_address = remote;
  side.ports = RelayPortsOf(*relay);
  if (!IsAddressMode(record.migration().options())) {
    side.stand_ins =
        stand_ins ? std::move(*stand_ins) : TRY(StandInsOf(node, *relay, record.final_name()));
  }
  side.container_addresses = AddressesOf(side.stand_ins);
  const OwnedFd host = TRY(HostNetns());
  LogWarnings(relay->id(), TRY(SetUpOrigin(host, side)));
  TRY(MoveConntrack(host, *relay, IsAddressMode(record.migration().options())));
  const auto lost = TRY(LeadNeighbours(host, side, ToConnections(*relay)));
  if (!lost.empty()) {
    spdlog::warn("relay {}: {} connections of neighbours could not be taken along", relay->id(),
                 lost.size());
  }
  return {};
}

std::vector<std::string> DescribeRelays(Node& node, const v1::Lineage& lineage) {
  std::vector<std::string> lines;
  const v1::Relay* relay = OwnRelayIn(node, lineage);
  if (relay == nullptr) {
    return lines;
  }
  for (const v1::PublishedPort& port : relay->ports()) {
    const bool six = port.host_ip().find(':') != std::string::npos;
    lines.push_back((port.host_ip().empty() ? "*"
                     : six                  ? "[" + port.host_ip() + "]"
                                            : port.host_ip()) +
                    ":" + std::to_string(port.host_port()) + "/" + port.protocol() +
                    " of this host leads there");
  }
  lines.push_back(std::to_string(relay->connections_size()) + " open connections taken along");
  return lines;
}

Result<std::string> ContainerNetworkPlan(Node& node, const v1::MigrationRecord& record) {
  const OwnedFd host = TRY(HostNetns());
  const v1::LineageRecord here = TRY(LineageRecordOf(node, record.lineage().id()));
  std::vector<RelayPlanEntry> plan;
  for (const v1::Relay& relay : record.lineage().relays()) {
    RelayPlanEntry entry{ToContainerSide(relay), relay.id() == here.own_relay().id()};
    if (!entry.at_home) {
      entry.side.remote_address = relay.origin_address();
      entry.side.local_address = TRY(SourceAddressToward(host, relay.origin_address()));
    }
    plan.push_back(std::move(entry));
  }
  return plan.empty() ? std::string() : RelayPlanToJson(plan);
}

// No connection outlives a stop: only the way in for new ones is made again. At home Docker's own
// published ports are that way.
Result<> UpdateStandingPlan(Node& node, const v1::LineageRecord& record) {
  std::vector<RelayPlanEntry> plan;
  if (!record.moved_away()) {
    const OwnedFd host = TRY(HostNetns());
    for (const v1::Relay& relay : record.lineage().relays()) {
      if (relay.id() == record.own_relay().id()) {
        continue;
      }
      RelayPlanEntry entry;
      entry.side.relay = ToSpec(relay);
      entry.side.remote_address = relay.origin_address();
      entry.side.local_address = TRY(SourceAddressToward(host, relay.origin_address()));
      plan.push_back(std::move(entry));
    }
  }
  return WriteStandingPlan(node.config().runtime_state_dir, record.container_id(),
                           plan.empty() ? std::string() : RelayPlanToJson(plan));
}

Result<> WriteStandingPlans(Node& node) {
  for (const v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    if (const Result<> written = UpdateStandingPlan(node, record); !written) {
      spdlog::warn("container {}: {}", record.container_id(), written.error().message);
    }
  }
  return {};
}

Result<> ConnectContainerNetwork(Node& node, const v1::MigrationRecord& record) {
  const v1::LineageRecord here = TRY(LineageRecordOf(node, record.lineage().id()));
  const v1::Relay* relay =
      here.own_relay().id().empty() ? nullptr : FindRelay(record.lineage(), here.own_relay().id());
  if (relay == nullptr) {
    return {};
  }
  const OwnedFd host = TRY(HostNetns());
  const BridgePort port = TRY(BridgePortOf(node, record.replica_id()));
  OriginAtHome side{ToSpec(*relay), port.address, port.bridge, {}, port.address6, port.bridge6};
  for (StandIn& stand_in : TRY(StandInsOf(node, *relay, record.final_name()))) {
    if (!port.all.contains(stand_in.address)) {
      side.stand_ins.push_back(std::move(stand_in));  // of clients that know an address of earlier
    }
  }
  LogWarnings(relay->id(), TRY(SetUpOriginAtHome(host, side)));
  return {};
}

Result<v1::RepointRelayReply> RepointOwnRelay(Node& node, const v1::RepointRelayRequest& request,
                                              const std::function<bool()>& cancelled) {
  static std::mutex one_at_a_time;  // the latest must not overtake, nor be overtaken
  const std::lock_guard lock(one_at_a_time);
  for (const v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    const v1::Relay& relay = record.own_relay();
    if (relay.id().empty() || relay.id() != request.relay_id()) {
      continue;
    }
    const OwnedFd host = TRY(HostNetns());
    OriginSide side;
    side.relay = ToSpec(relay);
    side.local_address = TRY(SourceAddressToward(host, request.new_address()));
    side.remote_address = request.new_address();
    side.ports = RelayPortsOf(relay);
    side.stand_ins = TRY(StandInsOf(node, relay, ""));
    side.container_addresses = AddressesOf(side.stand_ins);
    TRY(Fault(FaultPoint::kOriginRepointing));
    if (cancelled()) {
      return MakeError(ErrorCode::kCancelled, "nobody waits for relay " + relay.id() + " to turn");
    }
    LogWarnings(relay.id(), TRY(SetUpOrigin(host, side)));
    TRY(Fault(FaultPoint::kOriginRepointed));
    v1::LineageRecord moved = record;
    moved.set_location(request.new_endpoint());  // whom RemoveRelay() has to tell
    TRY(node.journal().Put(moved));
    return v1::RepointRelayReply();
  }
  return MakeError(ErrorCode::kNotFound, "no relay " + request.relay_id() + " on this host");
}

Result<> RemoveOwnRelay(Node&, const v1::Relay& relay) {
  return RemoveOrigin(TRY(HostNetns()), relay.id());
}

namespace {

// Entries that were moved to the relay address go back to the address that their socket has; those
// of an earlier stay elsewhere, whose socket the relay still serves, keep it.
std::vector<ConntrackMove> PlanMovesBack(const std::vector<ConntrackEntry>& entries,
                                         const v1::Relay& relay, const ContainerInfo& container) {
  std::vector<ConntrackMove> moves;
  for (const Connection& connection : ToConnections(relay)) {
    const bool own = std::any_of(container.endpoints.begin(), container.endpoints.end(),
                                 [&](const Endpoint& endpoint) {
                                   return endpoint.ipv4 == connection.local_address ||
                                          endpoint.ipv6 == connection.local_address;
                                 });
    const bool six = connection.local_address.find(':') != std::string::npos;
    const std::string& relay_address = six ? relay.relay_address6() : relay.relay_address();
    for (const ConntrackEntry& entry : entries) {
      const ConntrackTuple here{relay_address, connection.local_port, connection.remote_address,
                                connection.remote_port};
      if (own && entry.protocol == connection.protocol &&
          (entry.reply == here || entry.original == here)) {
        const auto back = PlanConntrackMoves({entry}, {relay_address}, connection.local_address);
        moves.insert(moves.end(), back.begin(), back.end());
      }
    }
  }
  return moves;
}

Result<> TakeBack(Node& node, const v1::MigrationRecord& record, const v1::Relay& relay) {
  const OwnedFd host = TRY(HostNetns());
  const std::string& id = record.migration().container_id();
  const ContainerInfo container = TRY(node.docker().InspectContainer(id));
  TRY(ApplyConntrackMoves(host, PlanMovesBack(TRY(ListConntrack(host)), relay, container)));
  const auto known = TRY(FindRelays(TRY(OpenNetns(container.pid)))).relay_ids;
  if (std::find(known.begin(), known.end(), relay.id()) != known.end()) {
    // It had come home before, and its relay with it.
    v1::MigrationRecord home = record;
    home.set_replica_id(id);
    return ConnectContainerNetwork(node, home);
  }
  TRY(RemoveOwnRelay(node, relay));
  v1::LineageRecord left = TRY(LineageRecordOf(node, record.lineage().id()));
  left.clear_own_relay();
  return left.lineage().relays().empty() ? node.journal().EraseLineage(left.lineage().id())
                                         : node.journal().Put(left);
}

}  // namespace

void TakeBackOwnRelay(Node& node, const v1::MigrationRecord& record) {
  if (record.has_address_move()) {
    const auto host = HostNetns();
    const Result<> removed =
        host ? RemoveAddressRoute(*host, record.address_move().id()) : Result<>(host.error());
    if (!removed) {
      spdlog::error("address route {}: {}", record.address_move().id(), removed.error().message);
    }
  }
  const v1::Relay* relay = OwnRelayIn(node, record.lineage());
  if (relay != nullptr) {
    if (auto back = TakeBack(node, record, *relay); !back) {
      spdlog::error("relay {}: {}", relay->id(), back.error().message);
    }
  }
  const std::vector<std::string> owed = LeadRelaysHere(node, record);
  if (const Result<> saved = OweRelays(node, record.lineage().id(), owed); !saved) {
    spdlog::error("lineage {}: {}", record.lineage().id(), saved.error().message);
  }
}

}  // namespace migrate
