// Connections with the neighbours that a container leaves behind on its bridge, and those of IPv6
// that its host has not tracked.

#include <algorithm>

#include "base/subnet.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using namespace internal;  // NOLINT: this file is a part of it

namespace {

constexpr std::uint8_t kTcpEstablished = 3;             // enum tcp_conntrack
constexpr std::uint32_t kEstablishedTimeout = 432'000;  // seconds, the kernel's default
constexpr std::uint32_t kUdpTimeout = 120;

Result<std::vector<AddressInfo>> AddressesHere() {
  auto rtnl = TRY(Rtnl::Open());
  auto addresses = TRY(rtnl.Addresses());
  for (auto& six : TRY(rtnl.Addresses(AF_INET6))) {
    addresses.push_back(std::move(six));
  }
  return addresses;
}

// On the bridge of the stand-in for the connection's local address; not the host itself there.
bool IsWithNeighbour(const Connection& connection, const std::vector<StandIn>& stand_ins,
                     const std::vector<AddressInfo>& host_addresses) {
  bool on_bridge = false;
  for (const auto& info : host_addresses) {
    if (info.address.substr(0, info.address.find('/')) == connection.remote_address) {
      return false;
    }
    on_bridge =
        on_bridge ||
        (SubnetContains(info.address, connection.remote_address) &&
         std::any_of(stand_ins.begin(), stand_ins.end(), [&](const StandIn& stand_in) {
           return stand_in.bridge == info.link && stand_in.address == connection.local_address;
         }));
  }
  return on_bridge;
}

// As if the neighbour had opened it, in any case: Docker deletes what has the old address in its
// reply tuple, which it would if the container had.
ConntrackEntry EntryFor(const Connection& connection, const std::string& relay_address) {
  ConntrackEntry entry;
  entry.protocol = connection.protocol;
  entry.original = {connection.remote_address, connection.remote_port, connection.local_address,
                    connection.local_port};
  entry.reply = {relay_address, connection.local_port, connection.remote_address,
                 connection.remote_port};
  entry.seen_reply = entry.assured = true;
  const bool tcp = connection.protocol == Protocol::kTcp;
  entry.tcp_state = tcp ? kTcpEstablished : 0;
  entry.timeout = tcp ? kEstablishedTimeout : kUdpTimeout;
  return entry;
}

// Whether the entry is about the connection when the container is at `address`.
bool IsEntryOf(const ConntrackEntry& entry, const Connection& connection,
               const std::string& address) {
  auto from_neighbour = [&](const ConntrackTuple& tuple) {
    return tuple.source_address == connection.remote_address &&
           tuple.source_port == connection.remote_port;
  };
  auto from_container = [&](const ConntrackTuple& tuple) {
    return tuple.source_address == address && tuple.source_port == connection.local_port;
  };
  return entry.protocol == connection.protocol &&
         ((from_neighbour(entry.original) && from_container(entry.reply)) ||
          (from_container(entry.original) && from_neighbour(entry.reply)));
}

}  // namespace

Result<std::vector<Connection>> LeadNeighbours(FdRef host_netns, const OriginSide& side,
                                               const std::vector<Connection>& connections) {
  const auto addresses = TRY(ValueInNetns<std::vector<AddressInfo>>(host_netns, AddressesHere));
  const auto entries = TRY(ListConntrack(host_netns));
  std::vector<Connection> lost;
  for (const auto& connection : connections) {
    const IpFamily& family = FamilyOf(connection.local_address);
    const auto& relay_address = RelayAddressOf(side.relay, family);
    const bool six = family.number == AF_INET6;
    if (relay_address.empty() || connection.local_address == relay_address) {
      continue;
    }
    auto find = [&](const std::string& address) {
      return std::find_if(entries.begin(), entries.end(), [&](const ConntrackEntry& entry) {
        return IsEntryOf(entry, connection, address);
      });
    };
    if ((!six && !IsWithNeighbour(connection, side.stand_ins, addresses)) ||
        find(relay_address) != entries.end()) {
      continue;
    }
    // Left over by ApplyConntrackMoves() because the bridge's tracking takes it for dead.
    if (auto dead = find(connection.local_address); dead != entries.end()) {
      TRY(DeleteConntrack(host_netns, *dead));
    }
    auto created = CreateConntrack(host_netns, EntryFor(connection, relay_address));
    if (!created && created.error().code == ErrorCode::kAlreadyExists) {
      lost.push_back(connection);
    } else if (!created) {
      return Error(std::move(created).error());
    }
  }
  return lost;
}

}  // namespace migrate
