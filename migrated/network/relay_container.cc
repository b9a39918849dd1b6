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
    TRY(ValidateAddress("local address", side.local_address));
    TRY(ValidateAddress("remote address", side.remote_address));
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
std::string ConnectionSets(const ContainerSide& side) {
  Elements incoming;
  Elements outgoing;
  for (const auto& c : side.connections) {
    if (IsInner(c, side.connections)) {
      continue;
    }
    const char* protocol = ProtocolName(c.protocol);
    incoming.Next() << protocol << " . " << c.remote_address << " . " << c.remote_port << " . "
                    << c.local_port << " : " << c.local_address;
    if (c.local_address != side.relay.relay_address) {
      outgoing.Next() << protocol << " . " << c.local_address << " . " << c.local_port << " . "
                      << c.remote_address << " . " << c.remote_port;
    }
  }
  return "  map incoming {\n    type inet_proto . ipv4_addr . inet_service . inet_service : "
         "ipv4_addr\n" +
         incoming.Text() +
         "  }\n  set outgoing {\n    type inet_proto . ipv4_addr . inet_service . ipv4_addr . "
         "inet_service\n" +
         outgoing.Text() + "  }\n";
}

// Answers of UDP sockets at 0.0.0.0 take the address of the interface that the route names, and
// sockets that wait at one address answer from there: both have to leave as R. `flows` remembers
// who asked through the relay.
std::string NewFlowRules(const ContainerSide& side) {
  constexpr char kRemember[] = " update @flows { meta l4proto . ip saddr . th sport . th dport";
  std::ostringstream out;
  out << "    meta l4proto udp" << kRemember << " timeout 10m }\n";
  for (const auto& bound : side.bound) {
    if (bound.address == side.relay.relay_address || bound.address == "0.0.0.0" ||
        bound.port == 0) {
      continue;
    }
    out << "    " << ProtocolName(bound.protocol) << " dport " << bound.port;
    if (bound.protocol == Protocol::kTcp) {
      out << kRemember << " timeout 5d }";
    }
    out << " ip daddr set " << bound.address << "\n";
  }
  return out.str();
}

// Connections of neighbours that came through the relay to the address that the container has
// again: now they come directly. Sent back through the origin, which knows where they began.
std::string DirectMap(const ContainerSide& side, const std::vector<AddressInfo>& own) {
  Elements elements;
  for (const auto& c : side.connections) {
    for (const auto& info : own) {
      if (info.link == side.home_interface && c.local_address == side.relay.relay_address &&
          SubnetContains(info.address, c.remote_address)) {
        elements.Next() << ProtocolName(c.protocol) << " . " << c.remote_address << " . "
                        << c.remote_port << " . " << info.address.substr(0, info.address.find('/'))
                        << " . " << c.local_port << " : " << c.local_address;
      }
    }
  }
  return "  map direct {\n    type inet_proto . ipv4_addr . inet_service . ipv4_addr . "
         "inet_service : ipv4_addr\n" +
         elements.Text() + "  }\n";
}

// A remote address may be one of the container's own here, hence the order in `out`.
std::string TableCommands(const ContainerSide& side, const std::vector<AddressInfo>& own) {
  const auto table = RelayTable(side.relay.id);
  const auto& relay_address = side.relay.relay_address;
  const auto interface = AtHome(side) ? side.home_interface : RelayLink(side.relay.id);
  std::ostringstream out;
  out << "add table ip " << table << "\ndelete table ip " << table << "\n"
      << TableHead(side.relay) << ConnectionSets(side) << DirectMap(side, own)
      << "  set flows {\n    type inet_proto . ipv4_addr . inet_service . inet_service\n"
      << "    size 65536\n    flags dynamic,timeout\n  }\n";
  // Before connection tracking on the way in and after it on the way out, so that it sees the
  // same addresses both ways.
  out << "  chain in {\n    type filter hook prerouting priority -310;\n"
      << "    iifname != \"" << interface << "\" accept\n"
      << "    ip daddr set meta l4proto . ip saddr . th sport . ip daddr . th dport map @direct "
         "accept\n"
      << "    ip daddr != " << relay_address << (AtHome(side) ? " accept\n" : " drop\n")
      << "    ip daddr set meta l4proto . ip saddr . th sport . th dport map @incoming accept\n"
      << NewFlowRules(side) << "  }\n";
  // "type route": the packet's way is looked up again for its new source, see the rule "from R".
  out << "  chain out {\n    type route hook output priority -150;\n"
      << "    ip daddr 127.0.0.0/8 accept\n    ip saddr " << relay_address << " accept\n"
      << "    meta l4proto . ip saddr . th sport . ip daddr . th dport @outgoing ip saddr set "
      << relay_address << " accept\n"
      << "    meta l4proto . ip daddr . th dport . th sport @flows ip saddr set " << relay_address
      << " accept\n  }\n}\n";
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

// R and those of the old addresses that no interface of the container's own has.
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
  for (const auto& address : side.old_addresses) {
    if (std::find(own.begin(), own.end(), address) == own.end()) {
      TRY(rtnl.AddAddress(link, address + "/32", label));
    }
  }
  return {};
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
Result<> RouteFromRelayAddress(Rtnl& rtnl, const RelaySpec& relay, RouteSpec way) {
  way.destination = "0.0.0.0/0";
  way.table = RelayRoutingTable(relay.id);
  TRY(rtnl.SetRoute(way));
  TRY(rtnl.SetRoute(
      {.destination = relay.relay_address + "/32", .table = way.table, .is_throw = true}));
  return rtnl.AddRule({relay.relay_address + "/32", way.table, kRelayRulePriority});
}

Result<> SetUpTunnelSide(const ContainerSide& side) {
  auto rtnl = TRY(Rtnl::Open());
  const auto& relay = side.relay;
  auto link = RelayLink(relay.id);
  TRY(RelaxTunnelLink(link));
  // A neighbour at the origin may have the address that the container has here: take packets from
  // it, and do not keep those to it.
  TRY(WriteControlFile("/proc/sys/net/ipv4/conf/" + link + "/accept_local", "1"));
  TRY(rtnl.SetLocalRulePriority(kLocalRulePriority));
  TRY(AddAddresses(rtnl, side, link, {}));
  TRY(rtnl.SetLinkUp(link));
  TRY(rtnl.SetNeighbour(link, kOriginGateway, RelayMac(relay.id, RelayEnd::kOrigin)));
  return RouteFromRelayAddress(rtnl, relay,
                               {.link = link, .gateway = kOriginGateway, .locked_mtu = relay.mtu});
}

// Neighbours know the container by another address than R: even answers to them have to go through
// the origin, which translates.
Result<> SetUpHomeSide(const ContainerSide& side) {
  auto rtnl = TRY(Rtnl::Open());
  TRY(AddAddresses(rtnl, side, "lo", RelayLabel(side.relay.id)));
  for (const auto& route : TRY(rtnl.Routes())) {
    if (route.destination == "0.0.0.0/0" && route.link == side.home_interface &&
        route.table == kMainTable && IsIpv4(route.gateway)) {
      return RouteFromRelayAddress(rtnl, side.relay,
                                   {.link = side.home_interface, .gateway = route.gateway});
    }
  }
  return {};
}

Result<> RemoveHere(const std::string& id, bool keep_table) {
  auto rtnl = TRY(Rtnl::Open());
  const auto table = RelayRoutingTable(id);
  TRY(rtnl.DeleteRules(table));
  for (const auto& route : TRY(rtnl.Routes())) {
    if (route.table == table && route.protocol == kRouteProtocol) {
      TRY(rtnl.DeleteRoute(route));
    }
  }
  const auto rules = TRY(rtnl.Rules());
  if (std::none_of(rules.begin(), rules.end(),
                   [](const RuleInfo& rule) { return rule.priority == kRelayRulePriority; })) {
    TRY(rtnl.SetLocalRulePriority(0));
  }
  TRY(rtnl.DeleteLink(RelayLink(id)));
  for (const auto& address : TRY(rtnl.Addresses())) {
    if (address.label == RelayLabel(id)) {
      TRY(rtnl.DeleteAddress(address));
    }
  }
  return keep_table ? Result<>() : RemoveNftTable("ip", RelayTable(id));
}

}  // namespace

Result<> SetUpContainerSide(FdRef host_netns, FdRef container_netns, const ContainerSide& side) {
  TRY(Validate(side));
  auto prepare = [&]() -> Result<> {
    TRY(MarkRelay(side.relay));
    return MakeArpStrict();
  };
  auto set_up_home = [&]() -> Result<> {
    TRY(RemoveHere(side.relay.id, /*keep_table=*/true));
    return SetUpHomeSide(side);
  };
  auto translate = [&]() -> Result<> {
    auto rtnl = TRY(Rtnl::Open());
    TRY(RunNft(TableCommands(side, TRY(rtnl.Addresses()))));
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
  return InNetns(container_netns, translate);
}

Result<> RemoveContainerSide(FdRef container_netns, std::string_view relay_id) {
  std::string id(relay_id);
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + id + "\" is not a relay id");
  }
  return InNetns(container_netns, [&] { return RemoveHere(id, /*keep_table=*/false); });
}

}  // namespace migrate
