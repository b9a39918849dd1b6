#include <algorithm>
#include <functional>
#include <sstream>

#include "base/file_util.h"
#include "base/ids.h"
#include "base/netns.h"
#include "base/subnet.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/forward_accept.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_loopback.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"
#include "migrated/network/sockets.h"
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
  TRY(ValidateIpv4("local address", side.local_address));
  TRY(ValidateIpv4("remote address", side.remote_address));
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

std::string PortRules(const OriginSide& side, const IpFamily& family) {
  const auto& relay_address = RelayAddressOf(side.relay, family);
  const bool six = family.number == AF_INET6;
  std::ostringstream out;
  for (const auto& port : side.ports) {
    const bool any = port.host_address.empty() || port.host_address == family.wildcard;
    if (!any && !IsOf(family, port.host_address)) {
      continue;
    }
    out << "    "
        << (any ? "fib daddr type local" : std::string(family.nft) + " daddr " + port.host_address)
        << " " << ProtocolName(port.protocol) << " dport " << port.host_port << " dnat to "
        << (six ? "[" + relay_address + "]" : relay_address) << ":" << port.container_port << "\n";
  }
  return out.str();
}

// "addresses": the set always exists, so that rules may name it.
std::string AddressSet(const std::vector<std::string>& all, const IpFamily& family) {
  const auto addresses = OnlyOf(family, all);
  std::string set = std::string("  set addresses {\n    type ") + family.address_type + "\n";
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
std::string TranslationChains(const RelaySpec& relay, const IpFamily& family,
                              const std::string& rules) {
  const auto all = std::string("    ") + family.nft + " daddr @addresses dnat to " +
                   RelayAddressOf(relay, family) + "\n" + rules + "  }\n";
  return "  chain prerouting {\n    type nat hook prerouting priority -110;\n" + all +
         "  chain output {\n    type nat hook output priority -110;\n" + all;
}

// Before Docker masquerades (100). A source that only this host knows, and the container's old
// address, which the host takes as the source toward itself: they would be no strangers to the
// container. Others are kept, as on the bridge; masquerading also ties a connection to the device,
// and the kernel ends it when the container comes home.
std::string SourceChain(const std::string& link, const IpFamily& family,
                        const std::string& host_address) {
  const auto to = "    oifname \"" + link + "\" ct status dnat ";
  const auto source = std::string(family.nft) + " saddr ";
  const auto as_host = " snat to " + host_address + "\n";
  return "  chain postrouting {\n    type nat hook postrouting priority 90;\n" + to + source +
         family.loopback + as_host + to + source + "@addresses" + as_host + to + "snat to " +
         source + "\n  }\n";
}

// What of new connections to the container's own addresses may pass.
std::string AddressVerdicts(const OriginSide& side, const std::string& link, const IpFamily& family,
                            bool open) {
  const auto to = "    oifname \"" + link + "\" ct original " + family.nft + " daddr @addresses ";
  std::ostringstream out;
  for (const auto& stand_in : side.stand_ins) {
    out << to << "iifname \"" << stand_in.bridge << "\" accept\n";
  }
  if (!open) {
    for (const auto& port : side.ports) {
      out << to << ProtocolName(port.protocol) << " dport " << port.container_port << " accept\n";
    }
    out << to << family.echo_request << " accept\n" << to << "drop\n";
  }
  return out.str();
}

// R is for relayed connections only: nobody reaches other ports of the container by a route to
// it. What comes from the container and belongs to no connection would leave untranslated.
std::string ForwardChain(const OriginSide& side, const std::string& link, const IpFamily& family,
                         bool open) {
  std::ostringstream out;
  out << "  chain forward {\n    type filter hook forward priority -10;\n"
      << "    oifname \"" << link << "\" ct state established,related accept\n"
      << AddressVerdicts(side, link, family, open) << "    oifname \"" << link
      << "\" ct status dnat accept\n"
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

// The kernel itself drops loopback addresses of IPv6 that come in.
std::string TunnelChain6(const OriginSide& side, const std::string& link) {
  return "  chain tunnel {\n    type filter hook prerouting priority -310;\n    iifname \"" + link +
         "\" ip6 saddr != " + side.relay.relay_address6 + " drop\n  }\n";
}

std::string TableCommands(const OriginSide& side, const IpFamily& family, bool open) {
  const auto link = RelayLink(side.relay.id);
  const bool six = family.number == AF_INET6;
  const auto host = six ? InRange6(kOriginRange6, side.relay.relay_address) : side.local_address;
  return TableHead(side.relay, family) + AddressSet(side.container_addresses, family) +
         TranslationChains(side.relay, family, PortRules(side, family)) +
         SourceChain(link, family, host) + ForwardChain(side, link, family, open) +
         (six ? TunnelChain6(side, link) : TunnelChain(side, link)) + "}\n";
}

// At home R is let through between Docker's bridges, which are closed to each other: neighbours of
// the container's other networks have connections that only this host can translate. But nobody
// else gets anywhere by it.
std::string HomeForwardChain(const RelaySpec& relay, const IpFamily& family) {
  const std::string field = family.nft;
  const auto& address = RelayAddressOf(relay, family);
  return "  chain forward {\n    type filter hook forward priority -10;\n"
         "    ct state established,related accept\n    " +
         field + " daddr " + address + " ct status dnat accept\n    " + field + " daddr " +
         address + " drop\n    " + field + " saddr " + address + " drop\n  }\n";
}

Result<> LetThrough(const RelaySpec& relay, const IpFamily& family) {
  return AcceptAddress(RelayAddressOf(relay, family), RelayTable(relay.id));
}

// The way to R leads back through the bridge. No redirects: the kernel sends none for what it
// translates.
std::string HomeAddressChains(const OriginAtHome& side, const IpFamily& family,
                              const std::string& host_address) {
  const std::string source = std::string(family.nft) + " saddr ";
  return AddressSet(AddressesOf(side.stand_ins), family) +
         TranslationChains(side.relay, family, "") +
         "  chain postrouting {\n    type nat hook postrouting priority 90;\n    " + source +
         "@addresses ct reply " + source + RelayAddressOf(side.relay, family) + " snat to " +
         host_address + "\n  }\n";
}

// This host's own, as containers there know it.
Result<std::string> AddressOnBridge(Rtnl& rtnl, const std::string& bridge, const IpFamily& family) {
  for (const auto& info : TRY(rtnl.Addresses(family.number))) {
    const auto slash = info.address.find('/');
    if (info.link == bridge && info.address.substr(slash) != family.host_length &&
        !info.address.starts_with("fe80:")) {
      return info.address.substr(0, slash);
    }
  }
  return MakeError(ErrorCode::kFailedPrecondition, "this host has no address on " + bridge);
}

// In one transaction, so that a repeated set-up leaves no gap in which a packet goes astray.
Result<> ReplaceTable(const std::string& id, const IpFamily& family, const std::string& commands) {
  TRY(RunNft(TRY(ResetNftTable({family.nft, RelayTable(id)})) + commands));
  return {};
}

// The way to the relay's address; what is not `destination` and `link` of the route.
Result<> RouteRelayAddress(Rtnl& rtnl, const RelaySpec& relay, const IpFamily& family,
                           RouteSpec way) {
  way.destination = HostRange(RelayAddressOf(relay, family));
  return rtnl.SetRoute(way);
}

Result<> RouteIntoTunnel(Rtnl& rtnl, const RelaySpec& relay, const IpFamily& family) {
  const auto link = RelayLink(relay.id);
  TRY(rtnl.SetNeighbour(link, RelayAddressOf(relay, family),
                        RelayMac(relay.id, RelayEnd::kContainer)));
  return RouteRelayAddress(rtnl, relay, family,
                           {.link = link, .locked_mtu = TunnelMtu(relay, family)});
}

Result<> SetUpLink(Rtnl& rtnl, const OriginSide& side) {
  auto link = MakeVxlanLink(side.relay, RelayEnd::kOrigin, side.local_address, side.remote_address);
  if (TRY(rtnl.LinkIndex(link.name)) != 0) {
    TRY(rtnl.ChangeVxlanEnds(link));
  } else {
    TRY(rtnl.CreateVxlan(link));
  }
  TRY(RelaxTunnelLink(link.name, !side.relay.relay_address6.empty()));
  TRY(WriteControlFile("/proc/sys/net/ipv4/conf/" + link.name + "/forwarding", "1"));
  if (!side.relay.relay_address6.empty()) {
    (void)OpenTunnelLinkToIpv6(link.name);  // before it is up; SetUp6() sees whether that failed
  }
  TRY(rtnl.SetLinkUp(link.name));
  return RouteIntoTunnel(rtnl, side.relay, kIpv4);
}

Result<> SetUp(const OriginSide& side) {
  TRY(CheckForwarding());
  TRY(MarkRelay(side.relay));
  auto rtnl = TRY(Rtnl::Open());
  TRY(SetUpLink(rtnl, side));
  TRY(AcceptForwarding(RelayLink(side.relay.id)));
  TRY(ShutLoopback(side.relay.id));
  TRY(ReplaceTable(side.relay.id, kIpv4, TableCommands(side, kIpv4, side.open_addresses)));
  TRY(RevokeAddress(side.relay.relay_address, RelayTable(side.relay.id)));  // of the time at home
  return OpenLoopback(RelayLink(side.relay.id));                            // behind its guard
}

// Behind IPv4, and only adds to it.
Result<> SetUp6(const OriginSide& side) {
  const auto link = RelayLink(side.relay.id);
  TRY(CheckForwardingOf(AF_INET6));
  TRY(OpenTunnelLinkToIpv6(link));
  auto rtnl = TRY(Rtnl::Open());
  TRY(RouteIntoTunnel(rtnl, side.relay, kIpv6));
  TRY(AcceptForwarding(link, kIpv6.nft));
  const bool open = side.open_addresses || !TRY(FiltersForwardedIpv6());
  TRY(ReplaceTable(side.relay.id, kIpv6, TableCommands(side, kIpv6, open)));
  TRY(RevokeAddress(side.relay.relay_address6, RelayTable(side.relay.id)));
  TRY(ShutLoopback6(side.relay.id));  // of the bridge
  return OpenLoopback6(side.relay.id, link);
}

Result<> DeleteRelayRoute(Rtnl& rtnl, const std::string& address) {
  for (const auto& route : TRY(rtnl.Routes(FamilyOf(address).number))) {
    if (route.protocol == kRouteProtocol && route.table == kMainTable &&
        route.destination == HostRange(address)) {
      TRY(rtnl.DeleteRoute(route));
    }
  }
  return {};
}

// What SetUp6() and SetUpHome6() made, but for what goes with the tunnel's device.
Result<> Remove6(const std::string& id) {
  auto rtnl = TRY(Rtnl::Open());
  TRY(RevokeForwarding(RelayLink(id), kIpv6.nft));
  if (const auto address = TRY(MarkedAddress(id, kIpv6))) {
    TRY(RevokeAddress(*address, RelayTable(id)));
    TRY(DeleteRelayRoute(rtnl, *address));
  }
  TRY(ShutLoopback6(id));
  return RetireNftTable({kIpv6.nft, RelayTable(id)});
}

Result<> SetUpHomeTable(Rtnl& rtnl, const OriginAtHome& side, bool loopback) {
  std::string commands = TableHead(side.relay) + HomeForwardChain(side.relay, kIpv4);
  if (!side.stand_ins.empty()) {
    commands += HomeAddressChains(side, kIpv4, TRY(AddressOnBridge(rtnl, side.bridge, kIpv4)));
  }
  const auto guard = loopback ? TRY(LoopbackGuardChain(side.relay.id, side.bridge)) : std::string();
  if (guard.empty()) {
    TRY(ShutLoopback(side.relay.id));
  }
  TRY(ReplaceTable(side.relay.id, kIpv4, commands + guard + "}\n"));
  TRY(LetThrough(side.relay, kIpv4));
  return guard.empty() ? Result<>() : OpenLoopback(side.bridge);
}

// What becomes of this host's connections from ::1.
enum class Loopback6 { kNone, kKept, kLost };

// The chains always: without anything that translates the kernel does not look at the entries, and
// Docker may well not do so for IPv6.
Result<> SetUpHome6(const OriginAtHome& side, Loopback6 loopback) {
  if (side.container_address6.empty()) {
    return MakeError(ErrorCode::kFailedPrecondition, "the container has no IPv6 address here");
  }
  auto rtnl = TRY(Rtnl::Open());
  const auto host_address = TRY(AddressOnBridge(rtnl, side.bridge6, kIpv6));
  auto commands = TableHead(side.relay, kIpv6) + HomeForwardChain(side.relay, kIpv6) +
                  HomeAddressChains(side, kIpv6, host_address);
  if (loopback == Loopback6::kLost) {
    commands += LostLoopback6Chain(InRange6(kOriginRange6, side.relay.relay_address));
  }
  TRY(ReplaceTable(side.relay.id, kIpv6, commands + "}\n"));
  TRY(LetThrough(side.relay, kIpv6));
  TRY(ShutLoopback6(side.relay.id));
  if (loopback == Loopback6::kKept) {
    TRY(OpenLoopback6(side.relay.id, side.bridge6));
  }
  TRY(RouteRelayAddress(rtnl, side.relay, kIpv6,
                        {.link = side.bridge6, .gateway = side.container_address6}));
  return RevokeForwarding(RelayLink(side.relay.id), kIpv6.nft);
}

// Whatever fails, IPv4 goes on.
RelayWarnings AddIpv6(const RelaySpec& relay, const std::function<Result<>()>& set_up) {
  if (relay.relay_address6.empty()) {
    return {};
  }
  const auto added = set_up();
  if (added) {
    return {};
  }
  (void)Remove6(relay.id);
  (void)CloseTunnelLinkToIpv6(RelayLink(relay.id));
  return {Ipv6Warning(added.error())};
}

bool IsLoopback(const ConntrackEntry& entry, const RelaySpec& relay, const IpFamily& family) {
  return entry.reply.source_address == RelayAddressOf(relay, family) &&
         SubnetContains(family.loopback, entry.original.source_address);
}

bool HasLoopback(const std::vector<ConntrackEntry>& entries, const RelaySpec& relay,
                 const IpFamily& family) {
  return std::any_of(entries.begin(), entries.end(),
                     [&](const auto& entry) { return IsLoopback(entry, relay, family); });
}

void EndLoopback6(FdRef host_netns, const RelaySpec& relay,
                  const std::vector<ConntrackEntry>& entries, RelayWarnings& warnings) {
  const auto ended = EndConnections(host_netns, [&](const Connection& connection) {
    const ConntrackTuple tuple{connection.local_address, connection.local_port,
                               connection.remote_address, connection.remote_port};
    return std::any_of(entries.begin(), entries.end(), [&](const auto& entry) {
      return entry.original == tuple && IsLoopback(entry, relay, kIpv6);
    });
  });
  warnings.push_back(
      "connections from ::1 of this host to the container end: br_netfilter keeps "
      "their answers out" +
      (ended ? std::string() : "; " + ended.error().message));
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
  TRY(RouteRelayAddress(rtnl, side.relay, kIpv4,
                        {.link = side.bridge, .gateway = side.container_address}));
  TRY(rtnl.DeleteLink(link));
  TRY(RevokeForwarding(link));
  return {};
}

Result<> Remove(const std::string& id) {
  auto link = RelayLink(id);
  auto address = TRY(MarkedAddress(id));
  auto rtnl = TRY(Rtnl::Open());
  TRY(RevokeForwarding(link));
  TRY(Remove6(id));
  TRY(rtnl.DeleteLink(link));
  if (address) {
    TRY(RevokeAddress(*address, RelayTable(id)));
    TRY(DeleteRelayRoute(rtnl, *address));
  }
  TRY(ShutLoopback(id));
  return RetireNftTable({"ip", RelayTable(id)});
}

}  // namespace

Result<> CheckOrigin(FdRef host_netns) { return InNetns(host_netns, CheckForwarding); }

Result<> CheckOrigin6(FdRef host_netns) {
  return InNetns(host_netns, [] { return CheckForwardingOf(AF_INET6); });
}

Result<RelayWarnings> SetUpOrigin(FdRef host_netns, const OriginSide& side) {
  TRY(Validate(side));
  RelayWarnings warnings;
  TRY(InNetns(host_netns, [&]() -> Result<> {
    TRY(SetUp(side));
    warnings = AddIpv6(side.relay, [&] { return SetUp6(side); });
    return {};
  }));
  // Behind the rules: what neighbours send at once finds its way.
  TRY(KeepStandIns(host_netns, side.relay.id, side.stand_ins));
  return warnings;
}

Result<RelayWarnings> SetUpOriginAtHome(FdRef host_netns, const OriginAtHome& side) {
  TRY(ValidateRelay(side.relay));
  TRY(ValidateIpv4("container address", side.container_address));
  if (!side.container_address6.empty()) {
    TRY(ValidateAddress("container address", side.container_address6));
  }
  TRY(ValidateStandIns(side.relay, side.stand_ins));
  // First: the container itself is the gateway, which cannot be an address of this host.
  TRY(KeepStandIns(host_netns, side.relay.id, side.stand_ins));
  const auto entries = TRY(ListConntrack(host_netns));
  RelayWarnings warnings;
  auto loopback6 = Loopback6::kNone;
  TRY(InNetns(host_netns, [&]() -> Result<> {
    if (HasLoopback(entries, side.relay, kIpv6)) {
      loopback6 = TRY(BridgesKeepLoopback6()) ? Loopback6::kKept : Loopback6::kLost;
    }
    warnings = AddIpv6(side.relay, [&] { return SetUpHome6(side, loopback6); });
    return SetUpHome(side, HasLoopback(entries, side.relay, kIpv4));
  }));
  if (loopback6 == Loopback6::kLost) {
    EndLoopback6(host_netns, side.relay, entries, warnings);
  }
  // Neighbours send to the container directly from now on, which answers by way of this host.
  TRY(LoosenConntrackOf(host_netns, side.relay.relay_address));
  if (!side.relay.relay_address6.empty()) {
    TRY(LoosenConntrackOf(host_netns, side.relay.relay_address6));
  }
  return warnings;
}

Result<> WithdrawAddress(FdRef host_netns, std::string_view relay_id, const std::string& address) {
  std::string id(relay_id);
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + id + "\" is not a relay id");
  }
  TRY(ValidateAddress("address of the container", address));
  TRY(InNetns(host_netns, [&]() -> Result<> {
    auto withdrawn = RunNft(std::string("delete element ") + FamilyOf(address).nft + " " +
                            RelayTable(id) + " addresses { " + address + " }\n");
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
  std::vector<std::string> addresses;
  TRY(InNetns(host_netns, [&]() -> Result<> {
    for (const IpFamily* family : {&kIpv4, &kIpv6}) {
      auto marked = MarkedAddress(id, *family);
      if (marked && *marked) {
        addresses.push_back(**marked);
      }
    }
    return {};
  }));
  for (const auto& address : addresses) {
    TRY(DeleteConntrackOf(host_netns, address));
  }
  TRY(RemoveStandIns(host_netns, id));
  TRY(InNetns(host_netns, [&] { return Remove(id); }));
  // What came in meanwhile may have made new ones.
  for (const auto& address : addresses) {
    TRY(DeleteConntrackOf(host_netns, address));
  }
  return {};
}

}  // namespace migrate
