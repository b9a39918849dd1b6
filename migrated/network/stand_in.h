// Standing in for a container that left: the host takes the container's old address on the bridge,
// so that its neighbours there (other containers of the network) go on reaching it. Their packets
// come to the host, and a relay (relay.h) leads them on; what no relay takes is dropped silently.
//
// The address becomes a local one of the bridge device, with a /32 (/128) length, behind Docker's
// own. The neighbours are told by gratuitous ARP, or an unsolicited neighbour advertisement. Why
// so: docs/decisions/0004-stand-in.md.
//
// Order of a move: LockNetns() (the container falls silent), TakeAddress(); to abort,
// UnlockNetns(), GiveBackAddress(). Afterwards SetUpOrigin() and SetUpOriginAtHome() keep the
// stand-ins that they are told of and remove others of their id, RemoveOrigin() removes all.
//
// Owns nothing: a stand-in lives in the kernel, in a table "ip migrate_stand_ID" ("ip6 ...") that
// names address and bridge, and is found and removed by any later process. All functions are
// idempotent. Thread-safe for different ids. IPv4 and IPv6.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

struct StandIn {
  std::string id;  // of the relay, 16 hex digits; a relay may have several stand-ins
  std::string address;
  std::string bridge;  // the device, "docker0"

  auto operator<=>(const StandIn&) const = default;
};

// kNotFound if there is no such bridge. Announces again whenever it is called.
Result<> TakeAddress(FdRef host_netns, const StandIn& stand_in);

// The neighbours are told the container's MAC.
Result<> GiveBackAddress(FdRef host_netns, const StandIn& stand_in,
                         const std::string& container_mac);

// Says nothing to the neighbours: whoever has the address now announces itself, or nobody has it.
Result<> RemoveStandIn(FdRef host_netns, std::string_view id, const std::string& address);
Result<> RemoveStandIns(FdRef host_netns, std::string_view id);
// Removes all of `id` that are not in `kept`, and takes those that are.
Result<> KeepStandIns(FdRef host_netns, std::string_view id, const std::vector<StandIn>& kept);

Result<std::vector<StandIn>> FindStandIns(FdRef host_netns);

// Announces every address that the container has on its own Ethernet devices; those of relays are
// left out. To be called as soon as it is unlocked.
Result<> AnnounceOwnAddresses(FdRef container_netns);

}  // namespace migrate
