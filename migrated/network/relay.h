// The relay: clients go on talking to the host where a container came from (the origin), which
// passes the traffic to wherever the container is now.
//
//   client <-> origin: DNAT to the relay address R <-> VXLAN <-> container's namespace: R is local
//
// Clients are: whoever uses a published port of the origin, programs of the origin itself (by its
// loopback addresses too), whoever sends to an address that the container had at the origin, and
// the container's neighbours on its bridge there (stand_in.h).
//
// A relay belongs to one container lineage and one origin, and outlives all moves: R and the id
// stay the same. At the origin everything is keyed on R, so that nothing there depends on an
// address that Docker hands out. In the container's namespace a stateless translation joins R with
// the local addresses of sockets that are older than the move.
//
// Owns nothing: what is set up lives in the kernel under names made of the id, and is removed by
// any later process that knows the id (FindRelays() finds them). All set-up and removal functions
// are idempotent; a set-up that failed half-way is undone by the removal. Thread-safe for
// different relays. Addresses are text, ports in host order.
//
// IPv4 always; IPv6 as well if the relay has an R6, inside the same tunnel. Where a host cannot do
// that (its IPv6 is off, a kernel without the tables) only IPv6 is lost, which the warnings say.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"
#include "migrated/network/stand_in.h"

namespace migrate {

inline constexpr std::uint16_t kRelayUdpPort = 7748;
inline constexpr char kRelaySubnet[] = "198.18.0.0/16";
// A ULA range (/96) in which every R has its R6.
inline constexpr char kRelayRange6[] = "fd6d:6967:7261::";

// What both ends must agree on.
struct RelaySpec {
  std::string id;                   // 16 hex digits
  std::string relay_address;        // R
  std::string relay_address6 = {};  // R6; empty: a relay of IPv4 only
  std::uint32_t vni = 0;            // 24 bits
  std::uint16_t udp_port = kRelayUdpPort;
  // Of the container's interface at the origin: connections keep the segment size they have.
  // Tunnel packets that are too long for the path are fragmented outside.
  std::uint32_t mtu = 1500;

  bool operator==(const RelaySpec&) const = default;
};

// The VNI follows from the id. Without an R6.
RelaySpec MakeRelaySpec(std::string id, std::string relay_address);
// The R6 that belongs to an R.
std::string RelayAddress6(const std::string& relay_address);

// What a set-up that succeeded could not do, one sentence each.
using RelayWarnings = std::vector<std::string>;

struct RelayPort {
  Protocol protocol = Protocol::kTcp;
  std::string host_address;  // empty: every local address; 0.0.0.0, ::: every one of that family
  std::uint16_t host_port = 0;
  std::uint16_t container_port = 0;

  bool operator==(const RelayPort&) const = default;
};

// The origin while the container is elsewhere.
struct OriginSide {
  RelaySpec relay;
  std::string local_address;   // of this host, toward the container's host
  std::string remote_address;  // the container's host
  std::vector<RelayPort> ports;
  // That the container had here: new connections to them are led to it. From the bridges of
  // `stand_ins` and from this host to all ports; from elsewhere, as with Docker's own firewall,
  // only to the published container ports, and echo requests.
  std::vector<std::string> container_addresses = {};
  // From elsewhere to all ports, too: a host whose firewall lets routed packets pass. Of IPv6 this
  // is found out here, since Docker may well not filter it (its option ip6tables).
  bool open_addresses = false;
  // Those of container_addresses that lie on a bridge of this host. Others of this relay's id are
  // removed. Leave out what Docker has given to another container: WithdrawAddress().
  std::vector<StandIn> stand_ins = {};

  bool operator==(const OriginSide&) const = default;
};

// The origin while the container is at home again.
struct OriginAtHome {
  RelaySpec relay;
  std::string container_address;  // on the bridge
  std::string bridge;
  // For addresses that it had here before and has no more, nor another container has. Others of
  // this relay's id are removed: the container itself answers again for the address that it has.
  std::vector<StandIn> stand_ins = {};
  // The same for IPv6; without them the relay's IPv6 ends.
  std::string container_address6 = {};
  std::string bridge6 = {};

  bool operator==(const OriginAtHome&) const = default;
};

// The container's namespace, wherever it is.
struct ContainerSide {
  RelaySpec relay;
  // Not empty: the container is at its origin, packets to R come in there and no tunnel is made.
  std::string home_interface;
  std::string local_address;   // tunnel: of this host, toward the origin
  std::string remote_address;  // tunnel: the origin
  // Local addresses of restored sockets. Those that no interface has are added.
  std::vector<std::string> old_addresses;
  // Connections that go through this relay; not those of another relay of the same container.
  std::vector<Connection> connections;
  // Sockets that wait at one address: new connections through the relay are led to them.
  std::vector<BoundPort> bound;

  bool operator==(const ContainerSide&) const = default;
};

// Whether this host can be an origin: forwarding on, a firewall that we can open.
Result<> CheckOrigin(FdRef host_netns);
// The same for what a relay does for IPv6.
Result<> CheckOrigin6(FdRef host_netns);

// Tunnel, translation of the published ports, permission to forward. From then on new connections
// to the ports go to the container's host. Existing ones follow with ApplyConntrackMoves() toward
// R (plan: PlanConntrackMoves): after this call, since without a route to R the host answers their
// packets with ICMP errors, and with the container locked. To abort: apply the reversed moves,
// then RemoveOrigin(). Calling it again with another remote_address repoints the relay.
Result<RelayWarnings> SetUpOrigin(FdRef host_netns, const OriginSide& side);

// Of `connections`, the container's own, those with a neighbour on a bridge of side.stand_ins, and
// all of IPv6: neither a bridge nor a host that does not filter IPv6 need track what it passes on.
// Makes the entries that lead them to R, whichever end
// opened them; not for those that have one. To be called with the container locked, behind
// ApplyConntrackMoves(), and may be repeated like that. Undone by RemoveOrigin(). The result: what
// is lost because another connection has the tuple.
Result<std::vector<Connection>> LeadNeighbours(FdRef host_netns, const OriginSide& side,
                                               const std::vector<Connection>& connections);

// Another container gets, or has got, the address: its stand-in ends, and new connections to it are
// no longer led to R. The caller also leaves it out of later calls of SetUpOrigin(). Idempotent.
Result<> WithdrawAddress(FdRef host_netns, std::string_view relay_id, const std::string& address);

// Replaces tunnel and port translation by a route to the container on its bridge. Connections that
// are keyed on R go on; new ones are Docker's business again, but for those of neighbours and of
// this host to addresses of `stand_ins`, which are led to R. After it and UnlockNetns(), call
// AnnounceOwnAddresses(): neighbours still believe the host to have the container's address.
Result<RelayWarnings> SetUpOriginAtHome(FdRef host_netns, const OriginAtHome& side);

// Everything of the relay, its stand-ins and the connection tracking entries of R included.
Result<> RemoveOrigin(FdRef host_netns, std::string_view relay_id);

// To be called with the namespace locked (netlock.h) and before the sockets are restored: they can
// only be bound to addresses that exist. `host_netns` is where the tunnel's own packets travel.
// While a container side exists ARP in the namespace is strict (arp_ignore, arp_announce), since
// an old address may belong to a neighbour here; this stays until the namespace ends. While there
// is a tunnel the rule for local addresses stands behind the rules "from R": a remote address may
// be one that the container has here.
Result<RelayWarnings> SetUpContainerSide(FdRef host_netns, FdRef container_netns,
                                         const ContainerSide& side);

Result<> RemoveContainerSide(FdRef container_netns, std::string_view relay_id);

// Traces of relays in a namespace, found by their names alone.
struct RelayTraces {
  std::vector<std::string> relay_ids;  // each can be given to RemoveOrigin/RemoveContainerSide
  std::vector<std::string> links;
  std::vector<std::string> addresses;  // relay addresses, of IPv4

  bool empty() const { return relay_ids.empty() && links.empty() && addresses.empty(); }
};
Result<RelayTraces> FindRelays(FdRef netns);

// An address of `subnet` (CIDR) that no relay, route or interface here has; the id decides where
// the search starts, so that two origins seldom choose the same.
Result<std::string> ChooseRelayAddress(FdRef host_netns, std::string_view relay_id,
                                       const std::string& subnet = kRelaySubnet);

}  // namespace migrate
