#include "migrated/network/relay_loopback.h"

#include "base/file_util.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate::internal {
namespace {

std::string Setting(const std::string& bridge) {
  return "/proc/sys/net/ipv4/conf/" + bridge + "/route_localnet";
}

// The bridge that this relay opened; empty if it did not.
Result<std::string> OpenedBy(const std::string& id) {
  auto listed = RunNft("list chain ip " + RelayTable(id) + " loopback");
  if (!listed) {
    return listed.error().code == ErrorCode::kNotFound
               ? Result<std::string>(std::string())
               : Result<std::string>(std::move(listed).error());
  }
  constexpr std::string_view kStart = "iifname \"";
  const auto start = listed->find(kStart);
  if (start == std::string::npos) {
    return std::string();
  }
  const auto name = listed->substr(start + kStart.size());
  return name.substr(0, name.find('"'));
}

Result<bool> OpenedByOther(const std::string& id, const std::string& bridge) {
  for (const auto& other : TRY(RelayIds())) {
    if (other != id && TRY(OpenedBy(other)) == bridge) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string LoopbackGuardRules(const std::string& link) {
  const auto from = "    iifname \"" + link + "\" ip ";
  return from + "daddr 127.0.0.0/8 drop\n" + from + "saddr 127.0.0.0/8 drop\n";
}

Result<std::string> LoopbackGuardChain(const std::string& id, const std::string& bridge) {
  const bool open = TRY(ReadSmallFile(Setting(bridge))).starts_with("1");
  if (open && TRY(OpenedBy(id)) != bridge && !TRY(OpenedByOther(id, bridge))) {
    return std::string();
  }
  return "  chain loopback {\n    type filter hook prerouting priority -310;\n" +
         LoopbackGuardRules(bridge) + "  }\n";
}

Result<> OpenLoopback(const std::string& bridge) { return WriteControlFile(Setting(bridge), "1"); }

Result<> ShutLoopback(const std::string& id) {
  const auto bridge = TRY(OpenedBy(id));
  if (bridge.empty() || TRY(OpenedByOther(id, bridge))) {
    return {};
  }
  auto rtnl = TRY(Rtnl::Open());
  return TRY(rtnl.LinkIndex(bridge)) == 0 ? Result<>() : WriteControlFile(Setting(bridge), "0");
}

Result<> OpenLoopback6(const std::string& id, const std::string& link) {
  auto rtnl = TRY(Rtnl::Open());
  return rtnl.SetRoute({.destination = HostRange(kIpv6.loopback),
                        .link = link,
                        .table = kLocalTable,
                        .is_local = true,
                        .metric = RelayRoutingTable(id)});
}

Result<> ShutLoopback6(const std::string& id) {
  auto rtnl = TRY(Rtnl::Open());
  for (const auto& route : TRY(rtnl.Routes(AF_INET6))) {
    if (route.destination == HostRange(kIpv6.loopback) && route.protocol == kRouteProtocol &&
        route.metric == RelayRoutingTable(id)) {
      TRY(rtnl.DeleteRoute(route));
    }
  }
  return {};
}

Result<bool> BridgesKeepLoopback6() {
  const auto tracked = ReadSmallFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables");
  if (!tracked && tracked.error().code == ErrorCode::kNotFound) {
    return true;  // br_netfilter is not loaded
  }
  return TRY(Result(tracked)).starts_with("0");
}

std::string LostLoopback6Chain(const std::string& origin_address) {
  return "  chain lost {\n    type filter hook prerouting priority -310;\n    ip6 daddr " +
         origin_address + " meta l4proto tcp reject with tcp reset\n  }\n";
}

}  // namespace migrate::internal
