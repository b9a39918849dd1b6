#include <algorithm>
#include <sstream>

#include "base/file_util.h"
#include "base/ids.h"
#include "base/netns.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/forward_accept.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using namespace internal;  // NOLINT: this file is the other half of it

namespace {

constexpr std::uint32_t kMainTable = 254;

Result<> Validate(const OriginSide& side) {
  TRY(ValidateRelay(side.relay));
  TRY(ValidateAddress("local address", side.local_address));
  TRY(ValidateAddress("remote address", side.remote_address));
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

// In one transaction, so that a repeated set-up leaves no gap in which a packet goes astray.
std::string TableCommands(const OriginSide& side) {
  const auto table = RelayTable(side.relay.id);
  const auto link = RelayLink(side.relay.id);
  const auto rules = PortRules(side);
  std::ostringstream out;
  out << "add table ip " << table << "\ndelete table ip " << table << "\n" << TableHead(side.relay);
  // Before Docker's own translation (-100), which may publish the port for another container.
  out << "  chain prerouting {\n    type nat hook prerouting priority -110;\n"
      << rules << "  }\n"
      << "  chain output {\n    type nat hook output priority -110;\n"
      << "    ip daddr 127.0.0.0/8 return\n"
      << rules << "  }\n";
  // R is for relayed connections only: nobody reaches other ports of the container by a route to
  // it. What comes from the container and belongs to no connection would leave untranslated.
  out << "  chain forward {\n    type filter hook forward priority -10;\n"
      << "    oifname \"" << link << "\" ct state established,related accept\n"
      << "    oifname \"" << link << "\" ct status dnat accept\n"
      << "    oifname \"" << link << "\" drop\n"
      << "    iifname \"" << link << "\" ip saddr != " << side.relay.relay_address << " drop\n"
      << "    iifname \"" << link << "\" ct state new drop\n  }\n";
  // VXLAN does not ask who sends; @th,96,24 is the VNI.
  out << "  chain tunnel {\n    type filter hook prerouting priority -310;\n"
      << "    udp dport " << side.relay.udp_port << " @th,96,24 " << side.relay.vni
      << " ip saddr != " << side.remote_address << " drop\n  }\n}\n";
  return out.str();
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
  TRY(RunNft(TableCommands(side)));
  return {};
}

Result<> SetUpHome(const OriginAtHome& side) {
  auto link = RelayLink(side.relay.id);
  auto table = RelayTable(side.relay.id);
  auto rtnl = TRY(Rtnl::Open());
  if (TRY(rtnl.LinkIndex(side.bridge)) == 0) {
    return MakeError(ErrorCode::kNotFound, "there is no bridge " + side.bridge);
  }
  // From here on Docker's rules decide about new connections; the mark stays.
  TRY(RunNft("add table ip " + table + "\ndelete table ip " + table + "\n" + TableHead(side.relay) +
             "}\n"));
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
  return RemoveNftTable("ip", RelayTable(id));
}

}  // namespace

Result<> CheckOrigin(FdRef host_netns) { return InNetns(host_netns, CheckForwarding); }

Result<> SetUpOrigin(FdRef host_netns, const OriginSide& side) {
  TRY(Validate(side));
  return InNetns(host_netns, [&] { return SetUp(side); });
}

Result<> SetUpOriginAtHome(FdRef host_netns, const OriginAtHome& side) {
  TRY(ValidateRelay(side.relay));
  TRY(ValidateAddress("container address", side.container_address));
  return InNetns(host_netns, [&] { return SetUpHome(side); });
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
  return InNetns(host_netns, [&] { return Remove(id); });
}

}  // namespace migrate
