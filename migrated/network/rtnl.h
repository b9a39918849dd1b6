// Rtnl: links, addresses, neighbours, routes and rules of the network namespace in which it was
// opened, through libnl. IPv4 and IPv6; the ends of tunnels are IPv4. Owns one netlink socket. One
// thread at a time; blocks shortly. "Add" succeeds if the same thing exists, "Delete" if it does
// not.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

struct nl_sock;

namespace migrate {

// Marks routes and rules as ours (rtm_protocol); a number that no routing daemon uses.
inline constexpr std::uint8_t kRouteProtocol = 109;

struct VxlanLink {
  std::string name;
  std::string mac;
  std::uint32_t vni = 0;
  std::uint16_t udp_port = 0;
  std::string local_address;
  std::string remote_address;
  std::uint32_t mtu = 1500;
};

struct LinkInfo {
  std::string name;
  std::string kind;    // "bridge", "veth", "macvlan", ...; empty for hardware
  std::string master;  // the bridge or bond of which it is a port
  bool up = false;
  std::uint32_t mtu = 0;
};

struct RouteSpec {
  std::string destination = {};  // IPv4 or IPv6: "198.18.0.1/32"; "0.0.0.0/0": default route
  std::string link = {};
  std::string gateway = {};      // reached without a lookup ("onlink"); empty: none
  std::uint32_t table = 254;     // main
  std::uint32_t locked_mtu = 0;  // not lowered by what the path reports; 0: no such metric
  // Ends the lookup in this table, so that the next rule is asked; without link and gateway.
  bool is_throw = false;
  // Not empty: a local route, for an address of `link` (table 255), with this source for what the
  // host itself sends there.
  std::string local_source = {};
  bool is_local = false;     // the same without a source
  std::uint32_t metric = 0;  // tells IPv6 routes to one destination apart; 0: the kernel's default
};

struct RouteInfo {
  std::string destination;
  std::string gateway;
  std::string link;
  std::uint32_t table = 0;
  std::uint8_t protocol = 0;
  std::uint32_t metric = 0;
};

struct AddressInfo {
  std::string address;  // with prefix length: "172.17.0.2/16"
  std::string link;
  std::string label;
};

struct RuleInfo {
  std::string source;
  std::uint32_t table = 0;
  std::uint32_t priority = 0;
};

class Rtnl {
 public:
  static Result<Rtnl> Open();

  // The tunnel's own UDP socket stays in this namespace, the device appears in `device_netns`
  // (here, if invalid). kAlreadyExists if the name, or the VNI on that port, is taken.
  Result<> CreateVxlan(const VxlanLink& link, FdRef device_netns = {});
  Result<> ChangeVxlanEnds(const VxlanLink& link);
  Result<> DeleteLink(const std::string& name);
  Result<> SetLinkUp(const std::string& name);
  Result<int> LinkIndex(const std::string& name);  // 0 if there is none
  Result<std::vector<std::string>> LinkNames();
  Result<std::vector<LinkInfo>> Links();

  // IPv6: usable at once, and never chosen by itself as the source of a connection. No labels.
  Result<> AddAddress(const std::string& link, const std::string& address,
                      const std::string& label = {});
  Result<> DeleteAddress(const AddressInfo& address);
  Result<std::vector<AddressInfo>> Addresses(int family = AF_INET);

  // An entry that needs neither ARP nor NDP, and never expires; or one that the kernel verifies
  // some seconds after it was first used.
  Result<> SetNeighbour(const std::string& link, const std::string& address, const std::string& mac,
                        bool for_good = true);
  // This host answers for the address (IPv4 or IPv6) on that link, where forwarding is on and, for
  // IPv6, proxy_ndp.
  Result<> AddProxyNeighbour(const std::string& link, const std::string& address);
  Result<> DeleteProxyNeighbour(const std::string& link, const std::string& address);

  Result<> SetRoute(const RouteSpec& route);
  Result<> DeleteRoute(const RouteInfo& route);
  Result<std::vector<RouteInfo>> Routes(int family = AF_INET);
  // The route that a packet to this address (IPv4 or IPv6) would take; none if it would not leave.
  Result<std::optional<RouteInfo>> RouteTo(const std::string& address);

  // "from `source` lookup `table`".
  Result<> AddRule(const RuleInfo& rule);
  Result<> DeleteRules(std::uint32_t table, int family = AF_INET);
  // Moves the rule that knows the local addresses. Rules before it can lead packets for one of
  // them elsewhere. The kernel's own place is 0.
  Result<> SetLocalRulePriority(std::uint32_t priority, int family = AF_INET);
  Result<std::vector<RuleInfo>> Rules(int family = AF_INET);

 private:
  struct SocketDeleter {
    void operator()(nl_sock* socket) const;
  };
  explicit Rtnl(nl_sock* socket) : socket_(socket) {}

  std::unique_ptr<nl_sock, SocketDeleter> socket_;
};

}  // namespace migrate
