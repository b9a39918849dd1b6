#include "migrated/address_mode.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "base/netns.h"
#include "migrated/network/address_move.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/host_facts.h"
#include "migrated/network/sockets.h"
#include "migrated/network/stand_in.h"
#include "migrated/peer_address.h"

namespace migrate {
namespace {

Result<OwnedFd> HostNetns() { return OpenNetns(getpid()); }

Protocol ToProtocol(const std::string& name) {
  return name == "udp" ? Protocol::kUdp : Protocol::kTcp;
}

Connection ToConnection(const v1::TcpEndpointPair& pair) {
  return {ToProtocol(pair.protocol()), pair.local_address(),
          static_cast<std::uint16_t>(pair.local_port()), pair.remote_address(),
          static_cast<std::uint16_t>(pair.remote_port())};
}

void AddConnection(const Connection& connection,
                   google::protobuf::RepeatedPtrField<v1::TcpEndpointPair>* list) {
  v1::TcpEndpointPair* pair = list->Add();
  pair->set_protocol(ProtocolName(connection.protocol));
  pair->set_local_address(connection.local_address);
  pair->set_local_port(connection.local_port);
  pair->set_remote_address(connection.remote_address);
  pair->set_remote_port(connection.remote_port);
}

std::vector<Connection> ToConnections(
    const google::protobuf::RepeatedPtrField<v1::TcpEndpointPair>& list) {
  std::vector<Connection> connections;
  std::transform(list.begin(), list.end(), std::back_inserter(connections), ToConnection);
  return connections;
}

std::vector<std::string> ToList(const google::protobuf::RepeatedPtrField<std::string>& list) {
  return {list.begin(), list.end()};
}

HostAddress HostAt(const std::string& endpoint) {
  return {ResolveIpv4(endpoint).value_or(""), ResolveIpv6(endpoint).value_or("")};
}

AddressRoute RouteOf(const v1::AddressMove& move) {
  AddressRoute route;
  route.id = move.id();
  route.addresses = ToList(move.addresses());
  route.bridge = move.source_bridge();
  route.target_host = {move.target_v4(), move.target_v6()};
  route.own = {move.source_v4(), move.source_v6()};
  route.host_connections = ToConnections(move.host_connections());
  return route;
}

Result<AddressTarget> TargetOf(const v1::AddressMove& move) {
  AddressTarget target;
  target.id = move.id();
  target.addresses = ToList(move.addresses());
  const OwnedFd host = TRY(HostNetns());
  for (const std::string& address : target.addresses) {
    if (auto link = LinkToward(host, address); link && target.bridge.empty()) {
      target.bridge = *link;  // none for a macvlan: this host has no address in its network
    }
  }
  target.source_host = {move.source_v4(), move.source_v6()};
  target.connections = ToConnections(move.connections());
  target.host_connections = ToConnections(move.host_connections());
  if (!move.shared_l2()) {
    target.neighbours = ToList(move.neighbours());
  }
  return target;
}

// A connection but for the container's own address, which is not the same on both ends of a relay.
using Peers = std::tuple<Protocol, std::uint16_t, std::string, std::uint16_t>;
Peers PeersOf(const Connection& connection) {
  return {connection.protocol, connection.local_port, connection.remote_address,
          connection.remote_port};
}

// Connections with programs of the host to which the container goes back now, made when it was
// there: they look like ones with this host, which has the same address on its bridge.
Result<std::set<Connection>> GoingHome(Node& node, const v1::AddressMove& move) {
  std::set<Connection> connections;
  for (const v1::MigrationRecord& record : TRY(node.journal().Migrations())) {
    const v1::AddressMove& arrival = record.address_move();
    if (record.migration().role() == v1::ROLE_TARGET && arrival.id() == move.id() &&
        record.decision() == v1::DECISION_ACTIVATED && arrival.source_v4() == move.target_v4()) {
      const std::vector<Connection> theirs = ToConnections(arrival.host_connections());
      connections.insert(theirs.begin(), theirs.end());
    }
  }
  return connections;
}

}  // namespace

std::vector<Blocker> AddressModeBlockers(const ContainerSpec& spec, const std::string& other,
                                         v1::Role role) {
  if (spec.networks.size() != 1 || !spec.networks.front().user_defined) {
    return {{"ADDRESS_NETWORK", spec.name,
             "--network=address moves the address of a container in one user-defined network; this "
             "one is in " +
                 (spec.networks.size() == 1 ? "network " + spec.networks.front().name
                                            : std::to_string(spec.networks.size()) + " networks"),
             "use --network=relay"}};
  }
  const NetworkSpec& network = spec.networks.front();
  const auto host = HostNetns();
  if (!host) {
    return {};
  }
  const auto link = LinkToward(*host, network.ipv4);
  const bool shared =
      network.driver != "bridge" || (link && SharedL2(*host, *link).value_or(false));
  if (shared) {
    return {};
  }
  std::vector<std::string> addresses{network.ipv4};
  if (!network.ipv6.empty()) {
    addresses.push_back(network.ipv6);
  }
  auto blockers = AddressRouteBlockers(*host, addresses, HostAt(other));
  if (blockers && role == v1::ROLE_TARGET) {
    if (auto filter = AddressFilterBlockers(*host, HostAt(other))) {
      blockers->insert(blockers->end(), filter->begin(), filter->end());
    }
  }
  return blockers
             ? std::move(*blockers)
             : std::vector<Blocker>{{"ADDRESS_ROUTE", network.ipv4, blockers.error().message, ""}};
}

Result<v1::AddressMove> PlanAddressMove(Node& node, const ContainerInfo& container,
                                        const std::string& lineage_id, const std::string& target) {
  const OwnedFd host = TRY(HostNetns());
  v1::AddressMove move;
  move.set_id(lineage_id);
  const HostAddress there = HostAt(target);
  const HostAddress here = TRY(OwnAddressToward(host, there));
  move.set_target_v4(there.v4);
  move.set_target_v6(there.v6);
  move.set_source_v4(here.v4);
  move.set_source_v6(here.v6);
  move.set_shared_l2(true);
  for (const Endpoint& endpoint : container.endpoints) {
    for (const std::string& address : {endpoint.ipv4, endpoint.ipv6}) {
      if (!address.empty()) {
        move.add_addresses(address);
      }
    }
    if (const auto link = LinkToward(host, endpoint.ipv4)) {
      move.set_source_bridge(*link);
      move.set_shared_l2(TRY(SharedL2(host, *link)));
    }
    const NetworkInfo network = TRY(node.docker().InspectNetwork(endpoint.network_id));
    for (const auto& [address, user] : network.addresses_in_use) {
      if (user != container.name) {
        move.add_neighbours(address);
      }
    }
  }
  return move;
}

Result<> ShareOutConnections(Node& node, FdRef netns, v1::AddressMove& move, v1::Lineage& lineage) {
  const OwnedFd host = TRY(HostNetns());
  const std::vector<std::string> addresses = ToList(move.addresses());
  const std::vector<ConntrackEntry> entries = TRY(ListConntrack(host));
  const SourceFlows flows = SortFlows(entries, addresses);
  // What came through this host's relay while the container was away goes on using it.
  std::set<Peers> relayed;
  for (const Connection& connection : flows.translated) {
    relayed.insert(PeersOf(connection));
  }
  for (const v1::Relay& relay : lineage.relays()) {
    const SourceFlows through = SortFlows(entries, {relay.relay_address(), relay.relay_address6()});
    for (const auto& list : {through.translated, through.direct}) {
      for (const Connection& connection : list) {
        relayed.insert(PeersOf(connection));
      }
    }
  }
  const std::set<Connection> going_home = TRY(GoingHome(node, move));
  const auto translated = [&](const Connection& connection) {
    return !going_home.contains(connection) && relayed.contains(PeersOf(connection));
  };
  std::set<Connection> direct(flows.direct.begin(), flows.direct.end());
  for (const SocketInfo& socket : TRY(ListSockets(netns))) {
    const Connection connection = socket.connection();
    if (socket.remote_port != 0 && !translated(connection) &&
        std::find(addresses.begin(), addresses.end(), socket.local_address) != addresses.end()) {
      direct.insert(connection);
    }
  }
  for (int i = lineage.relays_size() - 1; i >= 0; --i) {
    v1::Relay& relay = *lineage.mutable_relays(i);
    google::protobuf::RepeatedPtrField<v1::TcpEndpointPair> kept;
    for (const v1::TcpEndpointPair& pair : relay.connections()) {
      // One of another origin came through its relay, whatever it looks like here.
      if (relay.origin_node() != node.config().node_name || !direct.contains(ToConnection(pair))) {
        *kept.Add() = pair;
        direct.erase(ToConnection(pair));
      }
    }
    relay.mutable_connections()->Swap(&kept);
    if (relay.origin_node() == node.config().node_name && relay.connections().empty() &&
        relay.ports().empty()) {
      lineage.mutable_relays()->DeleteSubrange(i, 1);
    }
  }
  move.clear_connections();
  move.clear_host_connections();
  std::vector<Connection> list;
  for (const Connection& connection : direct) {
    AddConnection(connection, move.mutable_connections());
    if (!going_home.contains(connection)) {
      list.push_back(connection);
    }
  }
  for (const Connection& connection :
       TRY(ConnectionsWithHost(host, {move.source_v4(), move.source_v6()}, list))) {
    AddConnection(connection, move.mutable_host_connections());
  }
  return {};
}

Result<> LeadAddressAway(const v1::AddressMove& move, const std::string& own_relay_id) {
  if (move.shared_l2()) {
    return {};
  }
  const OwnedFd host = TRY(HostNetns());
  if (!own_relay_id.empty()) {
    TRY(RemoveStandIns(host, own_relay_id));  // from here on the bridge answers for a route
  }
  TRY(PrepareAddressRoute(host, RouteOf(move)));  // again, for a daemon that was restarted
  return SwitchAddressRoute(host, RouteOf(move));
}

Result<> PrepareAddressAway(const v1::AddressMove& move) {
  return move.shared_l2() ? Result<>() : PrepareAddressRoute(TRY(HostNetns()), RouteOf(move));
}

Result<> SettleAddressAway(const v1::AddressMove& move) {
  const OwnedFd host = TRY(HostNetns());
  TRY(RemoveAddressTarget(host, move.id()));  // of an earlier arrival
  return move.shared_l2() ? Result<>() : AnnounceAddressRoute(host, RouteOf(move));
}

Result<> PrepareAddress(const v1::AddressMove& move) {
  return PrepareAddressTarget(TRY(HostNetns()), TRY(TargetOf(move)));
}

Result<> ActivateAddress(const v1::AddressMove& move) {
  return ActivateAddressTarget(TRY(HostNetns()), TRY(TargetOf(move)));
}

Result<> AnnounceAddress(const v1::AddressMove& move, FdRef container_netns) {
  const OwnedFd host = TRY(HostNetns());
  const AddressTarget target = TRY(TargetOf(move));
  const std::string link = TRY(LinkToward(container_netns, target.addresses.front()));
  return AnnounceAddressTarget(host, container_netns, link, target);
}

}  // namespace migrate
