// Address mode: questions that are asked before anything is changed. See address_move.h.
#include <algorithm>
#include <cstdlib>

#include "base/file_util.h"
#include "base/subnet.h"
#include "migrated/network/address_move.h"
#include "migrated/network/forward_accept.h"
#include "migrated/network/host_facts.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/rtnl.h"

namespace migrate {
namespace {

constexpr std::uint32_t kMainTable = 254;
constexpr std::uint8_t kTcpTimeWait = 7;  // enum tcp_conntrack; larger ones are over as well

bool IsSix(const std::string& address) { return address.find(':') != std::string::npos; }

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// Docker names a container's end "veth" and some hex digits. A tap is a virtual machine's.
bool IsUplink(const LinkInfo& port) {
  return port.up && port.kind != "tun" && !(port.kind == "veth" && port.name.starts_with("veth"));
}

std::string Join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const auto& text : texts) {
    joined += (joined.empty() ? "" : ", ") + text;
  }
  return joined.empty() ? "none" : joined;
}

void CheckAddress(const AddressNetwork& source, const AddressNetwork& target,
                  const std::string& address, std::vector<Blocker>& blockers) {
  auto subnet = std::find_if(source.subnets.begin(), source.subnets.end(),
                             [&](const auto& s) { return SubnetContains(s, address); });
  if (subnet == source.subnets.end() ||
      std::none_of(target.subnets.begin(), target.subnets.end(),
                   [&](const auto& s) { return SameSubnet(s, *subnet); })) {
    blockers.push_back(
        {"ADDRESS_SUBNET_DIFFERS", address,
         "network " + source.name + " of the target has other subnets (" + Join(target.subnets) +
             "), so that the container cannot keep the address",
         "create the network at the target with the same --subnet, or use --network=relay"});
  } else if (Contains(target.addresses, address)) {
    blockers.push_back({"ADDRESS_TAKEN", address,
                        "a container of the target has this address in network " + source.name,
                        "give that container another address, or use --network=relay"});
  }
}

Blocker NextHopBlocker(const std::string& address, std::string detail) {
  return {"ADDRESS_NEXT_HOP", address, std::move(detail),
          "connect both hosts to one network, or use --network=relay"};
}

Result<> CheckFamily(int family, const std::string& other, const std::string& address,
                     std::vector<Blocker>& blockers) {
  const std::string name = family == AF_INET6 ? "IPv6" : "IPv4";
  auto forwarding = internal::CheckForwardingOf(family);
  if (!forwarding) {
    if (forwarding.error().reason.empty()) {
      return forwarding;
    }
    blockers.push_back({forwarding.error().reason, address, forwarding.error().message,
                        "change the setting, or use --network=relay"});
  }
  if (other.empty()) {
    blockers.push_back(NextHopBlocker(address, "the other host has no " + name + " address"));
    return {};
  }
  auto rtnl = TRY(Rtnl::Open());
  auto way = TRY(rtnl.RouteTo(other));
  if (!way) {
    blockers.push_back(NextHopBlocker(address, "no route leads to the other host, " + other));
  } else if (!way->gateway.empty()) {
    blockers.push_back(
        NextHopBlocker(address, "between the hosts is a router (" + way->gateway +
                                    "), which knows nothing of the container's new place"));
  }
  return {};
}

// The larger of the device's value and that of all.
int ReversePathFilter(const std::string& link) {
  int value = 0;
  for (const auto& scope : {std::string("all"), link}) {
    auto text = ReadSmallFile("/proc/sys/net/ipv4/conf/" + scope + "/rp_filter");
    value = std::max(value, text ? std::atoi(text->c_str()) : 0);
  }
  return value;
}

}  // namespace

Result<bool> SharedL2(FdRef netns, const std::string& link) {
  return ValueInNetns<bool>(netns, [&]() -> Result<bool> {
    auto rtnl = TRY(Rtnl::Open());
    auto links = TRY(rtnl.Links());
    auto self = std::find_if(links.begin(), links.end(),
                             [&](const LinkInfo& info) { return info.name == link; });
    if (self == links.end()) {
      return MakeError(ErrorCode::kNotFound, "there is no device " + link);
    }
    if (self->kind == "macvlan") {
      return true;
    }
    return self->kind == "bridge" &&
           std::any_of(links.begin(), links.end(),
                       [&](const LinkInfo& port) { return port.master == link && IsUplink(port); });
  });
}

Result<HostAddress> OwnAddressToward(FdRef host_netns, const HostAddress& other) {
  HostAddress own;
  if (!other.v4.empty()) {
    own.v4 = TRY(SourceAddressToward(host_netns, other.v4));
  }
  if (!other.v6.empty()) {
    own.v6 = TRY(SourceAddressToward(host_netns, other.v6));
  }
  return own;
}

Result<std::vector<Connection>> ConnectionsWithHost(FdRef host_netns, const HostAddress& own,
                                                    const std::vector<Connection>& connections) {
  std::vector<std::string> addresses;
  TRY(InNetns(host_netns, [&]() -> Result<> {
    auto rtnl = TRY(Rtnl::Open());
    for (int family : {AF_INET, AF_INET6}) {
      for (const auto& info : TRY(rtnl.Addresses(family))) {
        addresses.push_back(info.address.substr(0, info.address.find('/')));
      }
    }
    return {};
  }));
  std::vector<Connection> chosen;
  for (const auto& connection : connections) {
    const auto& remote = connection.remote_address;
    if (remote != connection.local_address && remote != own.ForFamilyOf(remote) &&
        Contains(addresses, remote) && !remote.starts_with("127.") && remote != "::1") {
      chosen.push_back(connection);
    }
  }
  return chosen;
}

SourceFlows SortFlows(const std::vector<ConntrackEntry>& entries,
                      const std::vector<std::string>& addresses) {
  SourceFlows flows;
  for (const auto& entry : entries) {
    if (entry.protocol == Protocol::kTcp && entry.tcp_state >= kTcpTimeWait) {
      continue;
    }
    const auto& to = entry.original;
    const auto& from = entry.reply;
    const bool translated = to.source_address != from.destination_address ||
                            to.destination_address != from.source_address ||
                            to.source_port != from.destination_port ||
                            to.destination_port != from.source_port;
    auto& list = translated ? flows.translated : flows.direct;
    if (Contains(addresses, from.source_address)) {
      // The container sees its peer as the answer is addressed.
      list.push_back({entry.protocol, from.source_address, from.source_port,
                      from.destination_address, from.destination_port});
    } else if (Contains(addresses, to.source_address)) {
      list.push_back({entry.protocol, to.source_address, to.source_port, to.destination_address,
                      to.destination_port});
    }
  }
  return flows;
}

std::vector<Blocker> AddressNetworkBlockers(const std::vector<AddressNetwork>& source,
                                            const std::vector<AddressNetwork>& target) {
  std::vector<Blocker> blockers;
  for (const auto& network : source) {
    if (network.name == "bridge") {
      blockers.push_back({"ADDRESS_DEFAULT_BRIDGE", network.name,
                          "Docker does not let a container choose its address in the default "
                          "bridge network",
                          "use a network made with `docker network create --subnet`, or "
                          "--network=relay"});
      continue;
    }
    auto same = std::find_if(target.begin(), target.end(),
                             [&](const auto& other) { return other.name == network.name; });
    if (same == target.end()) {
      blockers.push_back(
          {"ADDRESS_NETWORK_MISSING", network.name, "the target has no network of this name",
           "create it there with --subnet " + Join(network.subnets) + ", or use --network=relay"});
      continue;
    }
    if (same->driver != network.driver) {
      blockers.push_back({"ADDRESS_DRIVER_DIFFERS", network.name,
                          "the network's driver is " + network.driver + " here and " +
                              same->driver + " at the target",
                          "use networks of the same driver, or --network=relay"});
    }
    for (const auto& address : network.addresses) {
      CheckAddress(network, *same, address, blockers);
    }
  }
  return blockers;
}

Result<std::vector<Blocker>> AddressRouteBlockers(FdRef host_netns,
                                                  const std::vector<std::string>& addresses,
                                                  const HostAddress& other) {
  return ValueInNetns<std::vector<Blocker>>(host_netns, [&]() -> Result<std::vector<Blocker>> {
    std::vector<Blocker> blockers;
    for (int family : {AF_INET, AF_INET6}) {
      auto first = std::find_if(addresses.begin(), addresses.end(), [&](const auto& address) {
        return IsSix(address) == (family == AF_INET6);
      });
      if (first != addresses.end()) {
        TRY(CheckFamily(family, other.ForFamilyOf(*first), *first, blockers));
      }
    }
    return blockers;
  });
}

Result<std::vector<Blocker>> AddressFilterBlockers(FdRef target_netns, const HostAddress& source) {
  return ValueInNetns<std::vector<Blocker>>(target_netns, [&]() -> Result<std::vector<Blocker>> {
    std::vector<Blocker> blockers;
    if (source.v4.empty()) {
      return blockers;  // IPv6 has no such setting
    }
    auto rtnl = TRY(Rtnl::Open());
    auto way = TRY(rtnl.RouteTo(source.v4));
    // Most clients are where the default route leads.
    for (const auto& route : TRY(rtnl.Routes())) {
      if (way && route.destination == "0.0.0.0/0" && route.table == kMainTable &&
          route.link != way->link && ReversePathFilter(way->link) == 1) {
        blockers.push_back({"ADDRESS_RP_FILTER", way->link,
                            "packets of clients come to the target through " + way->link +
                                ", which drops them because the way back is " + route.link,
                            "sysctl -w net.ipv4.conf." + way->link +
                                ".rp_filter=2 at the target, or use --network=relay"});
        break;
      }
    }
    return blockers;
  });
}

}  // namespace migrate
