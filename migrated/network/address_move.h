// Address mode of the hand-off: the container keeps its IP addresses at the target host, which has
// a network of the same name and subnet, and no relay stands in between. IPv4 and IPv6.
//
//   routed:     clients go on sending to the old host, which routes the single address (/32, /128)
//               to the target host. Answers take the direct way.
//   shared L2:  both hosts' networks are one Ethernet segment (SharedL2). The neighbours are told
//               the new place, nothing is routed.
//
// What would break a connection on the way, and what is done: docs/decisions/0005-address-mode.md.
//
// Owns nothing: what is set up lives in the kernel, named by a table "inet migrate_addr_ID" (old
// host) or "inet migrate_here_ID" (target), made first and removed last, which also carries the
// facts; any later process finds and removes it. All functions are idempotent; a set-up that failed
// half-way is undone by the removal. Thread-safe for different hosts. Addresses are text without a
// length.
//
// Order of a move (routed):
//   target  PrepareAddressTarget()   container restored on its network, still locked
//   source  PrepareAddressRoute()    container frozen, its packets held or dropped
//   source  commit
//   source  SwitchAddressRoute()     packets that come or were held go to the target from here on
//   target  ActivateAddressTarget()  it lives here now
//   target  container unlocked, then AnnounceAddressTarget(), again a few times with short gaps
//   source  AnnounceAddressRoute() once more after the old container is gone
// Shared L2: without the calls at the source.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/blocker.h"
#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"
#include "migrated/network/conntrack.h"

namespace migrate {

// A host on the network between the hosts, by family; empty: not reachable by it.
struct HostAddress {
  std::string v4;
  std::string v6;

  const std::string& ForFamilyOf(const std::string& address) const {
    return address.find(':') == std::string::npos ? v4 : v6;
  }
  bool operator==(const HostAddress&) const = default;
};

// The host that the container left.
struct AddressRoute {
  std::string id;  // 16 hex digits
  std::vector<std::string> addresses;
  std::string bridge;  // of the container's network; its other containers are told. Empty: none
  HostAddress target_host;
  HostAddress own;  // of this host, toward the target host
  // See ConnectionsWithHost().
  std::vector<Connection> host_connections;

  bool operator==(const AddressRoute&) const = default;
};

// The host where the container is now.
struct AddressTarget {
  std::string id;  // the same as at the source
  std::vector<std::string> addresses;
  std::string bridge;       // of the container's network here; empty: macvlan, nothing to prepare
  HostAddress source_host;  // AddressRoute::own
  std::vector<Connection> connections;       // that are restored, all of them
  std::vector<Connection> host_connections;  // the same list as in AddressRoute
  // Other containers of the network that are at the source, and have to be reached there. Never one
  // whose address a container of this host has. Empty on a shared L2.
  std::vector<std::string> neighbours;

  bool operator==(const AddressTarget&) const = default;
};

// --- facts ---

// Whether the neighbours on that device are more than this host's own containers: a bridge with an
// uplink (a port that is no container's veth and no tap of a virtual machine), or a macvlan.
Result<bool> SharedL2(FdRef netns, const std::string& link);

// This host's own addresses toward another one; a family that the other has not is left empty.
Result<HostAddress> OwnAddressToward(FdRef host_netns, const HostAddress& other);

// Of a container's connections those whose peer is this host by an address other than `own`, e.g.
// the gateway address of the bridge. The target host has that address as well: they are translated.
Result<std::vector<Connection>> ConnectionsWithHost(FdRef host_netns, const HostAddress& own,
                                                    const std::vector<Connection>& connections);

// What the source's connection tracking knows of a container, as the container sees it. Pure.
struct SourceFlows {
  std::vector<Connection> direct;      // UDP flows of unconnected sockets included
  std::vector<Connection> translated;  // published ports, masquerading: need a relay
};
SourceFlows SortFlows(const std::vector<ConntrackEntry>& entries,
                      const std::vector<std::string>& addresses);

// One network of the container, or of the target host.
struct AddressNetwork {
  std::string name;
  std::string driver;
  std::vector<std::string> subnets;
  std::vector<std::string> addresses;  // the container's; at the target: those that are taken
};
// Whether the target has the container's networks, with the same subnets. Pure.
std::vector<Blocker> AddressNetworkBlockers(const std::vector<AddressNetwork>& source,
                                            const std::vector<AddressNetwork>& target);

// Whether this host can forward for `addresses` to and from `other`; to be asked of both hosts,
// unless the L2 is shared.
Result<std::vector<Blocker>> AddressRouteBlockers(FdRef host_netns,
                                                  const std::vector<std::string>& addresses,
                                                  const HostAddress& other);
// Whether the target takes packets of any client that come from the source; apart from the above.
Result<std::vector<Blocker>> AddressFilterBlockers(FdRef target_netns, const HostAddress& source);

// --- at the source ---

// All that takes time: rules, permission to forward, settings. From here on packets to and from
// the addresses are not tracked, so nothing of the container may be under way. Again with another
// target_host when the container moves on. RemoveAddressRoute() aborts.
Result<> PrepareAddressRoute(FdRef host_netns, const AddressRoute& route);
// After the commit point: the routes, the answering for the addresses, the first announcement.
Result<> SwitchAddressRoute(FdRef host_netns, const AddressRoute& route);
// Tells this host's other containers once more that the address is reached through the bridge.
Result<> AnnounceAddressRoute(FdRef host_netns, const AddressRoute& route);
Result<> RemoveAddressRoute(FdRef host_netns, std::string_view id);

// --- at the target ---

// Permission to forward from outside to the container, entries in connection tracking (else Docker
// masquerades answers of restored connections, and the client resets), ways to the neighbours.
Result<> PrepareAddressTarget(FdRef host_netns, const AddressTarget& target);
// After the commit point, before it is unlocked: routes that led the addresses away from this host
// end, those of an earlier stay (RemoveAddressRoute of the same id) included.
Result<> ActivateAddressTarget(FdRef host_netns, const AddressTarget& target);
// One round of announcements from the container's own device; where the L2 is shared from the
// bridge as well.
Result<> AnnounceAddressTarget(FdRef host_netns, FdRef container_netns,
                               const std::string& container_link, const AddressTarget& target);
// To abort, and when the container has left.
Result<> RemoveAddressTarget(FdRef host_netns, std::string_view id);

// --- what is there ---

struct AddressTraces {
  std::vector<AddressRoute> routes;  // without host_connections and own
  std::vector<std::string> targets;  // ids, for RemoveAddressTarget

  bool empty() const { return routes.empty() && targets.empty(); }
};
Result<AddressTraces> FindAddressRoutes(FdRef host_netns);

}  // namespace migrate
