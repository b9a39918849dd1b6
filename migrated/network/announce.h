// Tells the neighbours on an Ethernet segment where an address is, so that their caches change at
// once: IPv4 by gratuitous ARP, in its request and in its reply form because not every system takes
// both; IPv6 by an unsolicited neighbour advertisement to all nodes, with the override flag. Only
// entries that exist are changed by it. Also teaches switches and bridges the port of that MAC.
//
// Owns nothing. Needs CAP_NET_RAW. Thread-safe. Frames can be lost: repeat it, with short gaps.
#pragma once

#include <string>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

// One round: that `address` (IPv4 or IPv6, without a length) is at `mac` ("02:42:..."; empty: the
// link's own), sent from `link` of that namespace. kNotFound if there is no such link,
// kFailedPrecondition if it is no Ethernet device, kUnavailable if it is down or has no carrier.
Result<> Announce(FdRef netns, const std::string& link, const std::string& address,
                  const std::string& mac = {});

// Without frames, for a container that has just come: it knows those of its IPv6 gateways that are
// addresses of the host, and the host knows its addresses behind them. To be called before it is
// unlocked. In the first two seconds of a device, the container's or a bridge that has just got its
// first port, the kernel verifies the link-local address; until then it neither answers nor asks,
// unless the packet has an address of that device as its source.
Result<> Introduce6(FdRef host_netns, FdRef container_netns);

Result<std::string> LinkMac(FdRef netns, const std::string& link);

}  // namespace migrate
