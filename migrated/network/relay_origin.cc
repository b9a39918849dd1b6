#include <algorithm>
#include <sstream>

#include "base/file_util.h"
#include "base/ids.h"
#include "base/netns.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/forward_accept.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_loopback.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"
#include "migrated/network/stand_in.h"

namespace migrate {

using namespace internal;  // NOLINT: this file is the other half of it

namespace {

Result<> ValidateStandIns(const RelaySpec& relay, const std::vector<StandIn>& stand_ins) {
  for (const auto& stand_in : stand_ins) {
    TRY(ValidateAddress("address to stand in for", stand_in.address));
    if (stand_in.id != relay.id || !IsInterfaceName(stand_in.bridge)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "the stand-in for " + stand_in.address + " has a wrong id or bridge");
    }
  }
  return {};
}

Result<> Validate(const OriginSide& side) {
  TRY(ValidateRelay(side.relay));
  TRY(ValidateAddress("local address", side.local_address));
  TRY(ValidateAddress("remote address", side.remote_address));
  for (const auto& address : side.container_addresses) {
    TRY(ValidateAddress("address of the container", address));
  }
  TRY(ValidateStandIns(side.relay, side.stand_ins));
  for (const auto& port : side.ports) {
    if (!port.host_address.empty()) {
      TRY(ValidateAddress("host address of a published port", port.host_address));
    }
    if (port.host_port == 0 || port.container_port == 0) {
      return MakeError(ErrorCode::kInvalidArgument, "a published port without a number");
    }
  }
  return {};
}

std::string PortRules(const OriginSide& side) {
  std::ostringstream out;
  for (const auto& port : side.ports) {
    bool any = port.host_address.empty() || port.host_address == "0.0.0.0";
    out << "    " << (any ? "fib daddr type local" : "ip daddr " + port.host_address) << " "
        << ProtocolName(port.protocol) << " dport " << port.host_port << " dnat to "
        << side.relay.relay_address << ":" << port.container_port << "\n";
  }
  return out.str();
}

// "addresses": the set always exists, so that rules may name it.
std::string AddressSet(const std::vector<std::string>& addresses) {
  std::string set = "  set addresses {\n    type ipv4_addr\n";
  if (!addresses.empty()) {
    set += "    elements = { " + JoinElements(addresses) + " }\n";
  }
  return set + "  }\n";
}

std::vector<std::string> AddressesOf(const std::vector<StandIn>& stand_ins) {
  std::vector<std::string> addresses;
  for (const auto& stand_in : stand_ins) {
    addresses.push_back(stand_in.address);
  }
  return addresses;
}

// Before Docker's own translation (-100), which may publish the port for another container. The
// addresses first: with a stand-in they are local ones, but all their ports are the container's.
std::string TranslationChains(const std::string& relay_address, const std::string& rules) {
  const auto all = "    ip daddr @addresses dnat to " + relay_address + "\n" + rules + "  }\n";
  return "  chain prerouting {\n    type nat hook prerouting priority -110;\n" + all +
         "  chain output {\n    type nat hook output priority -110;\n" + all;
}

// Before Docker masquerades (100). A source that only this host knows, and the container's old
// address, which the host takes as the source toward itself: they would be no strangers to the
// container. Others are kept, as on the bridge; masquerading also ties a connection to the device,
// and the kernel ends it when the container comes home.
std::string SourceChain(const std::string& link, const std::string& host_address) {
  const auto to = "    oifname \"" + link + "\" ct status dnat ";
  const auto as_host = " snat to " + host_address + "\n";
  return "  chain postrouting {\n    type nat hook postrouting priority 90;\n" + to +
         "ip saddr 127.0.0.0/8" + as_host + to + "ip saddr @addresses" + as_host + to +
         "snat to ip saddr\n  }\n";
}

// What of new connections to the container's own addresses may pass.
std::string AddressVerdicts(const OriginSide& side, const std::string& link) {
  const auto to = "    oifname \"" + link + "\" ct original ip daddr @addresses ";
  std::ostringstream out;
  for (const auto& stand_in : side.stand_ins) {
    out << to << "iifname \"" << stand_in.bridge << "\" accept\n";
  }
  if (!side.open_addresses) {
    for (const auto& port : side.ports) {
      out << to << ProtocolName(port.protocol) << " dport " << port.container_port << " accept\n";
    }
    out << to << "icmp type echo-request accept\n" << to << "drop\n";
  }
  return out.str();
}

// R is for relayed connections only: nobody reaches other ports of the container by a route to
// it. What comes from the container and belongs to no connection would leave untranslated.
std::string ForwardChain(const OriginSide& side, const std::string& link) {
  std::ostringstream out;
  out << "  chain forward {\n    type filter hook forward priority -10;\n"
      << "    oifname \"" << link << "\" ct state established,related accept\n"
      << AddressVerdicts(side, link) << "    oifname \"" << link << "\" ct status dnat accept\n"
      << "    oifname \"" << link << "\" drop\n"
      << "    iifname \"" << link << "\" ct state new drop\n  }\n";
  return out.str();
}

// VXLAN does not ask who sends; @th,96,24 is the VNI. The device routes loopback addresses, which
// must not open the host's own loopback services to the container.
std::string TunnelChain(const OriginSide& side, const std::string& link) {
  std::ostringstream out;
  out << "  chain tunnel {\n    type filter hook prerouting priority -310;\n"
      << "    udp dport " << side.relay.udp_port << " @th,96,24 " << side.relay.vni
      << " ip saddr != " << side.remote_address << " drop\n"
      << "    iifname \"" << link << "\" ip saddr != " << side.relay.relay_address << " drop\n"
      << LoopbackGuardRules(link) << "  }\n";
  return out.str();
}

std::string TableCommands(const OriginSide& side) {
  const auto link = RelayLink(side.relay.id);
  return TableHead(side.relay) + AddressSet(side.container_addresses) +
         TranslationChains(side.relay.relay_address, PortRules(side)) +
         SourceChain(link, side.local_address) + ForwardChain(side, link) +
         TunnelChain(side, link) + "}\n";
}

// The way to R leads back through the bridge. No redirects: the kernel sends none for what it
// translates.
std::string HomeAddressChains(const OriginAtHome& side, const std::string& host_address) {
  const auto& relay_address = side.relay.relay_address;
  return AddressSet(AddressesOf(side.stand_ins)) + TranslationChains(relay_address, "") +
         "  chain postrouting {\n    type nat hook postrouting priority 90;\n"
         "    ip saddr @addresses ct reply ip saddr " +
         relay_address + " snat to " + host_address + "\n  }\n";
}

// This host's own, as containers there know it.
Result<std::string> AddressOnBridge(Rtnl& rtnl, const std::string& bridge) {
  for (const auto& info : TRY(rtnl.Addresses())) {
    const auto slash = info.address.find('/');
    if (info.link == bridge && info.address.substr(slash) != "/32") {
      return info.address.substr(0, slash);
    }
  }
  return MakeError(ErrorCode::kFailedPrecondition, "this host has no address on " + bridge);
}

// In one transaction, so that a repeated set-up leaves no gap in which a packet goes astray.
Result<> ReplaceTable(const std::string& id, const std::string& commands) {
  TRY(RunNft(TRY(ResetNftTable({"ip", RelayTable(id)})) + commands));
  return {};
}

Result<> SetUpLink(Rtnl& rtnl, const OriginSide& side) {
  auto link = MakeVxlanLink(side.relay, RelayEnd::kOrigin, side.local_address, side.remote_address);
  if (TRY(rtnl.LinkIndex(link.name)) != 0) {
    TRY(rtnl.ChangeVxlanEnds(link));
  } else {
    TRY(rtnl.CreateVxlan(link));
  }
  TRY(RelaxTunnelLink(link.name));
  TRY(WriteControlFile("/proc/sys/net/ipv4/conf/" + link.name + "/forwarding", "1"));
  TRY(rtnl.SetLinkUp(link.name));
  TRY(rtnl.SetNeighbour(link.name, side.relay.relay_address,
                        RelayMac(side.relay.id, RelayEnd::kContainer)));
  TRY(rtnl.SetRoute({.destination = side.relay.relay_address + "/32",
                     .link = link.name,
                     .locked_mtu = side.relay.mtu}));
  return {};
}

Result<> SetUp(const OriginSide& side) {
  TRY(CheckForwarding());
  TRY(MarkRelay(side.relay));
  auto rtnl = TRY(Rtnl::Open());
  TRY(SetUpLink(rtnl, side));
  TRY(AcceptForwarding(RelayLink(side.relay.id)));
  TRY(ShutLoopback(side.relay.id));
  TRY(ReplaceTable(side.relay.id, TableCommands(side)));
  return OpenLoopback(RelayLink(side.relay.id));  // behind its guard
}

Result<> SetUpHomeTable(Rtnl& rtnl, const OriginAtHome& side, bool loopback) {
  std::string commands = TableHead(side.relay);
  if (!side.stand_ins.empty()) {
    commands += HomeAddressChains(side, TRY(AddressOnBridge(rtnl, side.bridge)));
  }
  const auto guard = loopback ? TRY(LoopbackGuardChain(side.relay.id, side.bridge)) : std::string();
  if (guard.empty()) {
    TRY(ShutLoopback(side.relay.id));
  }
  TRY(ReplaceTable(side.relay.id, commands + guard + "}\n"));
  return guard.empty() ? Result<>() : OpenLoopback(side.bridge);
}

Result<> SetUpHome(const OriginAtHome& side, bool loopback) {
  auto link = RelayLink(side.relay.id);
  auto rtnl = TRY(Rtnl::Open());
  if (TRY(rtnl.LinkIndex(side.bridge)) == 0) {
    return MakeError(ErrorCode::kNotFound, "there is no bridge " + side.bridge);
  }
  // From here on Docker's rules decide about new connections.
  TRY(SetUpHomeTable(rtnl, side, loopback));
  // The route first: replacing is atomic, and the device takes only its own route with it.
  TRY(rtnl.SetRoute({.destination = side.relay.relay_address + "/32",
                     .link = side.bridge,
                     .gateway = side.container_address}));
  TRY(rtnl.DeleteLink(link));
  TRY(RevokeForwarding(link));
  return {};
}

Result<> Remove(const std::string& id) {
  auto link = RelayLink(id);
  auto address = TRY(MarkedAddress(id));
  auto rtnl = TRY(Rtnl::Open());
  TRY(RevokeForwarding(link));
  TRY(rtnl.DeleteLink(link));
  if (address) {
    for (const auto& route : TRY(rtnl.Routes())) {
      if (route.protocol == kRouteProtocol && route.table == kMainTable &&
          route.destination == *address + "/32") {
        TRY(rtnl.DeleteRoute(route));
      }
    }
  }
  TRY(ShutLoopback(id));
  return RetireNftTable({"ip", RelayTable(id)});
}

}  // namespace

Result<> CheckOrigin(FdRef host_netns) { return InNetns(host_netns, CheckForwarding); }

Result<> SetUpOrigin(FdRef host_netns, const OriginSide& side) {
  TRY(Validate(side));
  TRY(InNetns(host_netns, [&] { return SetUp(side); }));
  // Behind the rules: what neighbours send at once finds its way.
  return KeepStandIns(host_netns, side.relay.id, side.stand_ins);
}

Result<> SetUpOriginAtHome(FdRef host_netns, const OriginAtHome& side) {
  TRY(ValidateRelay(side.relay));
  TRY(ValidateAddress("container address", side.container_address));
  TRY(ValidateStandIns(side.relay, side.stand_ins));
  // First: the container itself is the gateway, which cannot be an address of this host.
  TRY(KeepStandIns(host_netns, side.relay.id, side.stand_ins));
  const auto entries = TRY(ListConntrack(host_netns));
  const bool loopback = std::any_of(entries.begin(), entries.end(), [&](const auto& entry) {
    return entry.reply.source_address == side.relay.relay_address &&
           entry.original.source_address.starts_with("127.");
  });
  TRY(InNetns(host_netns, [&] { return SetUpHome(side, loopback); }));
  // Neighbours send to the container directly from now on, which answers by way of this host.
  return LoosenConntrackOf(host_netns, side.relay.relay_address);
}

Result<> WithdrawAddress(FdRef host_netns, std::string_view relay_id, const std::string& address) {
  std::string id(relay_id);
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + id + "\" is not a relay id");
  }
  TRY(ValidateAddress("address of the container", address));
  TRY(InNetns(host_netns, [&]() -> Result<> {
    auto withdrawn =
        RunNft("delete element ip " + RelayTable(id) + " addresses { " + address + " }\n");
    return withdrawn || withdrawn.error().code == ErrorCode::kNotFound
               ? Result<>()
               : Result<>(std::move(withdrawn).error());
  }));
  return RemoveStandIn(host_netns, id, address);
}

Result<> RemoveOrigin(FdRef host_netns, std::string_view relay_id) {
  std::string id(relay_id);
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + id + "\" is not a relay id");
  }
  std::optional<std::string> address;
  TRY(InNetns(host_netns, [&]() -> Result<> {
    auto marked = MarkedAddress(id);
    if (marked) {
      address = *marked;
    }
    return {};
  }));
  if (address) {
    TRY(DeleteConntrackOf(host_netns, *address));
  }
  TRY(RemoveStandIns(host_netns, id));
  return InNetns(host_netns, [&] { return Remove(id); });
}

}  // namespace migrate
