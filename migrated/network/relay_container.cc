#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "base/file_util.h"
#include "base/ids.h"
#include "base/netns.h"
#include "base/subnet.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using namespace internal;  // NOLINT: this file is the other half of it

namespace {

using namespace std::chrono_literals;

// A namespace that ended takes its devices along only a little later.
constexpr auto kVniRetryDelay = 50ms;
constexpr int kVniRetries = 100;

bool AtHome(const ContainerSide& side) { return !side.home_interface.empty(); }

Result<> Validate(const ContainerSide& side) {
  TRY(ValidateRelay(side.relay));
  if (AtHome(side)) {
    if (!IsInterfaceName(side.home_interface)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "\"" + side.home_interface + "\" is not an interface name");
    }
  } else {
    TRY(ValidateIpv4("local address", side.local_address));
    TRY(ValidateIpv4("remote address", side.remote_address));
  }
  for (const auto& address : side.old_addresses) {
    TRY(ValidateAddress("old address", address));
  }
  for (const auto& connection : side.connections) {
    TRY(ValidateAddress("local address of a connection", connection.local_address));
    TRY(ValidateAddress("remote address of a connection", connection.remote_address));
  }
  for (const auto& bound : side.bound) {
    TRY(ValidateAddress("address of a waiting socket", bound.address));
  }
  return {};
}

// "elements = { a, b }", or nothing: nft refuses an empty list.
class Elements {
 public:
  std::ostream& Next() {
    out_ << (empty_ ? "    elements = { " : ",\n      ");
    empty_ = false;
    return out_;
  }
  std::string Text() const { return empty_ ? "" : out_.str() + " }\n"; }

 private:
  std::ostringstream out_;
  bool empty_ = true;
};

// Of the container with itself, by its old address.
bool IsInner(const Connection& connection, const std::vector<Connection>& all) {
  const Connection mirrored{connection.protocol, connection.remote_address, connection.remote_port,
                            connection.local_address, connection.local_port};
  return std::find(all.begin(), all.end(), mirrored) != all.end();
}

// Connections whose socket is at another local address than R. Those at R itself are listed too,
// with R: so they are not led to a socket that waits at one address.
std::string ConnectionSets(const ContainerSide& side, const IpFamily& family) {
  Elements incoming;
  Elements outgoing;
  for (const auto& c : side.connections) {
    if (!IsOf(family, c.local_address) || IsInner(c, side.connections)) {
      continue;
    }
    const char* protocol = ProtocolName(c.protocol);
    incoming.Next() << protocol << " . " << c.remote_address << " . " << c.remote_port << " . "
                    << c.local_port << " : " << c.local_address;
    if (c.local_address != RelayAddressOf(side.relay, family)) {
      outgoing.Next() << protocol << " . " << c.local_address << " . " << c.local_port << " . "
                      << c.remote_address << " . " << c.remote_port;
    }
  }
  const std::string address = family.address_type;
  return "  map incoming {\n    type inet_proto . " + address +
         " . inet_service . inet_service : " + address + "\n" + incoming.Text() +
         "  }\n  set outgoing {\n    type inet_proto . " + address + " . inet_service . " +
         address + " . inet_service\n" + outgoing.Text() + "  }\n";
}

// Answers of UDP sockets at 0.0.0.0 take the address of the interface that the route names, and
// sockets that wait at one address answer from there: both have to leave as R. `flows` remembers
// who asked through the relay.
std::string NewFlowRules(const ContainerSide& side, const IpFamily& family) {
  const auto remember =
      std::string(" update @flows { meta l4proto . ") + family.nft + " saddr . th sport . th dport";
  std::ostringstream out;
  out << "    meta l4proto udp" << remember << " timeout 10m }\n";
  for (const auto& bound : side.bound) {
    if (!IsOf(family, bound.address) || bound.address == RelayAddressOf(side.relay, family) ||
        bound.address == family.wildcard || bound.port == 0) {
      continue;
    }
    out << "    " << ProtocolName(bound.protocol) << " dport " << bound.port;
    if (bound.protocol == Protocol::kTcp) {
      out << remember << " timeout 5d }";
    }
    out << " " << family.nft << " daddr set " << bound.address << "\n";
  }
  return out.str();
}

// Connections of neighbours that came through the relay to the address that the container has
// again: now they come directly. Sent back through the origin, which knows where they began.
std::string DirectMap(const ContainerSide& side, const IpFamily& family,
                      const std::vector<std::string>& interfaces,
                      const std::vector<AddressInfo>& own) {
  Elements elements;
  for (const auto& c : side.connections) {
    for (const auto& info : own) {
      if (std::find(interfaces.begin(), interfaces.end(), info.link) != interfaces.end() &&
          c.local_address == RelayAddressOf(side.relay, family) &&
          SubnetContains(info.address, c.remote_address)) {
        elements.Next() << ProtocolName(c.protocol) << " . " << c.remote_address << " . "
                        << c.remote_port << " . " << info.address.substr(0, info.address.find('/'))
                        << " . " << c.local_port << " : " << c.local_address;
      }
    }
  }
  const std::string address = family.address_type;
  return "  map direct {\n    type inet_proto . " + address + " . inet_service . " + address +
         " . inet_service : " + address + "\n" + elements.Text() + "  }\n";
}

// IPv6 addresses have no labels: this is how those on "lo" are found again.
std::string AddedSet(const IpFamily& family, const std::vector<std::string>& added) {
  if (family.number != AF_INET6) {
    return {};
  }
  const std::string set = std::string("  set added {\n    type ") + family.address_type + "\n";
  return set + (added.empty() ? "" : "    elements = { " + JoinElements(added) + " }\n") + "  }\n";
}

// Where packets to the relay's address, or from neighbours, come in.
std::vector<std::string> Interfaces(const ContainerSide& side,
                                    const std::vector<AddressInfo>& own) {
  if (!AtHome(side)) {
    return {RelayLink(side.relay.id)};
  }
  std::vector<std::string> interfaces;
  for (const auto& info : own) {
    if (info.link != "lo" && !IsRelayLink(info.link) && IsInterfaceName(info.link) &&
        std::find(interfaces.begin(), interfaces.end(), info.link) == interfaces.end()) {
      interfaces.push_back(info.link);
    }
  }
  return interfaces;
}

// A remote address may be one of the container's own here, hence the order in `out`.
std::string TableCommands(const ContainerSide& side, const IpFamily& family,
                          const std::vector<AddressInfo>& own,
                          const std::vector<std::string>& added) {
  const auto table = std::string(family.nft) + " " + RelayTable(side.relay.id);
  const auto& relay_address = RelayAddressOf(side.relay, family);
  const std::string source = std::string(family.nft) + " saddr";
  const std::string destination = std::string(family.nft) + " daddr";
  const auto interfaces = Interfaces(side, own);
  std::string guard;  // none: nothing can come in
  for (const auto& interface : interfaces) {
    guard += (guard.empty() ? "\"" : ", \"") + interface + "\"";
  }
  guard = guard.empty() ? "" : "    iifname != { " + guard + " } accept\n";
  std::ostringstream out;
  out << "add table " << table << "\ndelete table " << table << "\n"
      << TableHead(side.relay, family) << AddedSet(family, added) << ConnectionSets(side, family)
      << DirectMap(side, family, interfaces, own) << "  set flows {\n    type inet_proto . "
      << family.address_type << " . inet_service . inet_service\n"
      << "    size 65536\n    flags dynamic,timeout\n  }\n";
  // Before connection tracking on the way in and after it on the way out, so that it sees the
  // same addresses both ways.
  out << "  chain in {\n    type filter hook prerouting priority -310;\n"
      << guard << "    " << destination << " set meta l4proto . " << source << " . th sport . "
      << destination << " . th dport map @direct accept\n    " << destination
      << " != " << relay_address << (AtHome(side) ? " accept\n" : " drop\n") << "    "
      << destination << " set meta l4proto . " << source
      << " . th sport . th dport map @incoming accept\n"
      << NewFlowRules(side, family) << "  }\n";
  // "type route": the packet's way is looked up again for its new source, see the rule "from R".
  out << "  chain out {\n    type route hook output priority -150;\n"
      << "    " << destination << " " << family.loopback << " accept\n    " << source << " "
      << relay_address << " accept\n    meta l4proto . " << source << " . th sport . "
      << destination << " . th dport @outgoing " << source << " set " << relay_address
      << " accept\n    meta l4proto . " << destination << " . th dport . th sport @flows " << source
      << " set " << relay_address << " accept\n  }\n}\n";
  return out.str();
}

// Old addresses may belong to neighbours here: never claim them on another interface.
Result<> MakeArpStrict() {
  const std::string all = "/proc/sys/net/ipv4/conf/all/";
  if (TRY(ReadSmallFile(all + "arp_ignore")).starts_with("0")) {
    TRY(WriteControlFile(all + "arp_ignore", "1"));
  }
  TRY(WriteControlFile(all + "arp_announce", "2"));
  return {};
}

// R and those of the old addresses that no interface of the container's own has. R6 and the like
// are AddAddresses6().
Result<> AddAddresses(Rtnl& rtnl, const ContainerSide& side, const std::string& link,
                      const std::string& label) {
  std::vector<std::string> own;
  for (const auto& info : TRY(rtnl.Addresses())) {
    // What another relay added goes away with that relay.
    if (!IsRelayLink(info.link) && info.label.find(":mg") == std::string::npos) {
      own.push_back(info.address.substr(0, info.address.find('/')));
    }
  }
  TRY(rtnl.AddAddress(link, side.relay.relay_address + "/32", label));
  for (const auto& address : OnlyOf(kIpv4, side.old_addresses)) {
    if (std::find(own.begin(), own.end(), address) == own.end()) {
      TRY(rtnl.AddAddress(link, address + "/32", label));
    }
  }
  return {};
}

// To be added, R6 included.
Result<std::vector<std::string>> MissingAddresses6(Rtnl& rtnl, const ContainerSide& side) {
  std::vector<std::string> own;
  for (const auto& info : TRY(rtnl.Addresses(AF_INET6))) {
    if (!IsRelayLink(info.link) && info.link != "lo") {
      own.push_back(info.address.substr(0, info.address.find('/')));
    }
  }
  std::vector<std::string> missing{side.relay.relay_address6};
  for (const auto& address : OnlyOf(kIpv6, side.old_addresses)) {
    if (std::find(own.begin(), own.end(), address) == own.end()) {
      missing.push_back(address);
    }
  }
  return missing;
}

Result<> CreateTunnel(FdRef host_netns, FdRef container_netns, const VxlanLink& link) {
  bool exists = false;
  auto change = [&]() -> Result<> {
    auto rtnl = TRY(Rtnl::Open());
    exists = TRY(rtnl.LinkIndex(link.name)) != 0;
    return exists ? rtnl.ChangeVxlanEnds(link) : Result<>();
  };
  TRY(InNetns(container_netns, change));
  if (exists) {
    return {};
  }
  return InNetns(host_netns, [&]() -> Result<> {
    auto rtnl = TRY(Rtnl::Open());
    for (int attempt = 0;; ++attempt) {
      auto created = rtnl.CreateVxlan(link, container_netns);
      if (created || created.error().code != ErrorCode::kAlreadyExists || attempt == kVniRetries) {
        return created;
      }
      std::this_thread::sleep_for(kVniRetryDelay);
    }
  });
}

// What has R as its source leaves by `link` and `gateway`, wherever it goes, but to R itself.
Result<> RouteFromRelayAddress(Rtnl& rtnl, const RelaySpec& relay, const IpFamily& family,
                               RouteSpec way) {
  const auto range = HostRange(RelayAddressOf(relay, family));
  way.destination = family.everything;
  way.table = RelayRoutingTable(relay.id);
  TRY(rtnl.SetRoute(way));
  TRY(rtnl.SetRoute({.destination = range, .table = way.table, .is_throw = true}));
  return rtnl.AddRule({range, way.table, kRelayRulePriority});
}

Result<> RouteThroughTunnel(Rtnl& rtnl, const RelaySpec& relay, const IpFamily& family) {
  const auto link = RelayLink(relay.id);
  TRY(rtnl.SetNeighbour(link, family.origin_gateway, RelayMac(relay.id, RelayEnd::kOrigin)));
  return RouteFromRelayAddress(
      rtnl, relay, family,
      {.link = link, .gateway = family.origin_gateway, .locked_mtu = TunnelMtu(relay, family)});
}

Result<> SetUpTunnelSide(const ContainerSide& side) {
  auto rtnl = TRY(Rtnl::Open());
  const auto& relay = side.relay;
  auto link = RelayLink(relay.id);
  const bool with_ipv6 = !relay.relay_address6.empty();
  TRY(RelaxTunnelLink(link, with_ipv6));
  if (with_ipv6) {
    (void)OpenTunnelLinkToIpv6(link);  // before it is up; SetUpSide6() sees whether that failed
  }
  // A neighbour at the origin may have the address that the container has here: take packets from
  // it, and do not keep those to it.
  TRY(WriteControlFile("/proc/sys/net/ipv4/conf/" + link + "/accept_local", "1"));
  TRY(rtnl.SetLocalRulePriority(kLocalRulePriority));
  TRY(AddAddresses(rtnl, side, link, {}));
  TRY(rtnl.SetLinkUp(link));
  return RouteThroughTunnel(rtnl, relay, kIpv4);
}

// Neighbours know the container by another address than R: even answers to them have to go through
// the origin, which translates.
Result<> SetUpHomeSide(const ContainerSide& side) {
  auto rtnl = TRY(Rtnl::Open());
  TRY(AddAddresses(rtnl, side, "lo", RelayLabel(side.relay.id)));
  for (const auto& route : TRY(rtnl.Routes())) {
    if (route.destination == "0.0.0.0/0" && route.link == side.home_interface &&
        route.table == kMainTable && IsIpv4(route.gateway)) {
      return RouteFromRelayAddress(rtnl, side.relay, kIpv4,
                                   {.link = side.home_interface, .gateway = route.gateway});
    }
  }
  return {};
}

// Not always the interface with the default route of IPv4.
Result<RouteInfo> DefaultRoute6(Rtnl& rtnl) {
  for (auto& route : TRY(rtnl.Routes(AF_INET6))) {
    if (route.destination == kIpv6.everything && route.table == kMainTable &&
        !route.gateway.empty() && !route.link.empty()) {
      return std::move(route);
    }
  }
  return MakeError(ErrorCode::kFailedPrecondition, "the container has no default route of IPv6");
}

// Restored connections look their way up before they are translated: it must not promise them more
// than the tunnel has. New ones are told by the tunnel's own routes.
Result<> LimitMtu6(Rtnl& rtnl, bool limit) {
  for (const auto& link : TRY(rtnl.Links())) {
    const auto mtu = limit ? std::min(link.mtu, kTunnelMtu6) : link.mtu;
    if (!IsRelayLink(link.name) && mtu >= kTunnelMtu6) {
      // No such file, where IPv6 is off or the device has less than IPv6 needs.
      (void)WriteControlFile("/proc/sys/net/ipv6/conf/" + link.name + "/mtu", std::to_string(mtu));
    }
  }
  return {};
}

Result<> SetUpWay6(Rtnl& rtnl, const ContainerSide& side, const std::string& link) {
  if (AtHome(side)) {
    const auto route = TRY(DefaultRoute6(rtnl));
    return RouteFromRelayAddress(rtnl, side.relay, kIpv6,
                                 {.link = route.link, .gateway = route.gateway});
  }
  TRY(OpenTunnelLinkToIpv6(link));
  TRY(LimitMtu6(rtnl, true));
  TRY(rtnl.SetLocalRulePriority(kLocalRulePriority, AF_INET6));
  return RouteThroughTunnel(rtnl, side.relay, kIpv6);
}

// Behind IPv4, and only adds to it. The addresses first: without them sockets cannot be restored,
// whatever else is missing.
Result<> SetUpSide6(const ContainerSide& side) {
  auto rtnl = TRY(Rtnl::Open());
  const std::string tunnel = RelayLink(side.relay.id);
  const std::string link = AtHome(side) ? "lo" : tunnel;
  const auto addresses = TRY(MissingAddresses6(rtnl, side));
  const auto added = AtHome(side) ? addresses : std::vector<std::string>();
  const auto marked = RunNft(TableHead(side.relay, kIpv6) + AddedSet(kIpv6, added) + "}\n");
  for (const auto& address : addresses) {
    TRY(rtnl.AddAddress(link, HostRange(address)));
  }
  TRY(marked);
  TRY(SetUpWay6(rtnl, side, tunnel));
  TRY(RunNft(TableCommands(side, kIpv6, TRY(rtnl.Addresses(AF_INET6)), added)));
  return {};
}

Result<> RemoveWay(Rtnl& rtnl, const std::string& id, const IpFamily& family) {
  const auto table = RelayRoutingTable(id);
  TRY(rtnl.DeleteRules(table, family.number));
  for (const auto& route : TRY(rtnl.Routes(family.number))) {
    if (route.table == table && route.protocol == kRouteProtocol) {
      TRY(rtnl.DeleteRoute(route));
    }
  }
  const auto rules = TRY(rtnl.Rules(family.number));
  if (std::none_of(rules.begin(), rules.end(),
                   [](const RuleInfo& rule) { return rule.priority == kRelayRulePriority; })) {
    TRY(rtnl.SetLocalRulePriority(0, family.number));
    return family.number == AF_INET6 ? LimitMtu6(rtnl, false) : Result<>();
  }
  return {};
}

Result<> RemoveHere6(Rtnl& rtnl, const std::string& id) {
  if (!TRY(MarkedAddress(id, kIpv6))) {
    return {};
  }
  TRY(RemoveWay(rtnl, id, kIpv6));
  for (const auto& address : TRY(ListedAddresses(id, kIpv6, "added"))) {
    TRY(rtnl.DeleteAddress({HostRange(address), "lo", ""}));
  }
  return RemoveNftTable(kIpv6.nft, RelayTable(id));
}

Result<> RemoveHere(const std::string& id, bool keep_table) {
  auto rtnl = TRY(Rtnl::Open());
  TRY(RemoveHere6(rtnl, id));
  TRY(RemoveWay(rtnl, id, kIpv4));
  TRY(rtnl.DeleteLink(RelayLink(id)));
  for (const auto& address : TRY(rtnl.Addresses())) {
    if (address.label == RelayLabel(id)) {
      TRY(rtnl.DeleteAddress(address));
    }
  }
  return keep_table ? Result<>() : RemoveNftTable("ip", RelayTable(id));
}

}  // namespace

Result<RelayWarnings> SetUpContainerSide(FdRef host_netns, FdRef container_netns,
                                         const ContainerSide& side) {
  TRY(Validate(side));
  auto prepare = [&]() -> Result<> {
    TRY(MarkRelay(side.relay));
    return MakeArpStrict();
  };
  auto set_up_home = [&]() -> Result<> {
    TRY(RemoveHere(side.relay.id, /*keep_table=*/true));
    return SetUpHomeSide(side);
  };
  RelayWarnings warnings;
  auto translate = [&]() -> Result<> {
    auto rtnl = TRY(Rtnl::Open());
    TRY(RunNft(TableCommands(side, kIpv4, TRY(rtnl.Addresses()), {})));
    if (!side.relay.relay_address6.empty()) {
      if (const auto six = SetUpSide6(side); !six) {
        warnings.push_back(Ipv6Warning(six.error()));
      }
    }
    return {};
  };
  TRY(InNetns(container_netns, prepare));
  if (AtHome(side)) {
    TRY(InNetns(container_netns, set_up_home));
  } else {
    TRY(CreateTunnel(
        host_netns, container_netns,
        MakeVxlanLink(side.relay, RelayEnd::kContainer, side.local_address, side.remote_address)));
    TRY(InNetns(container_netns, [&] { return SetUpTunnelSide(side); }));
  }
  TRY(InNetns(container_netns, translate));
  return warnings;
}

Result<> RemoveContainerSide(FdRef container_netns, std::string_view relay_id) {
  std::string id(relay_id);
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + id + "\" is not a relay id");
  }
  return InNetns(container_netns, [&] { return RemoveHere(id, /*keep_table=*/false); });
}

}  // namespace migrate
