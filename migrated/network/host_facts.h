// Questions about the network of a host that preflight and the relay ask. Reads only, apart from
// sockets that live for one call. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"

namespace migrate {

// Whether a socket could be bound there now; `address` is IPv4 or IPv6, empty means any IPv4. A
// port that Docker publishes without a proxy process has no socket and looks free: ask Docker too.
Result<bool> UsablePort(FdRef netns, Protocol protocol, const std::string& address,
                        std::uint16_t port);

// The address that this host uses toward `peer` (IPv4 or IPv6). kUnavailable if no route leads
// there.
Result<std::string> SourceAddressToward(FdRef netns, const std::string& peer);

struct LocalNetwork {
  std::string subnet;  // CIDR, host bits zero
  std::string link;    // empty for routes that lead nowhere (blackhole ...)
};
// Every IPv4 network that is routed other than by the default route, addresses of interfaces
// (as /32) included.
Result<std::vector<LocalNetwork>> LocalNetworks(FdRef netns);

// The interface in whose network the address lies. kNotFound if there is none.
Result<std::string> LinkToward(FdRef netns, const std::string& address);

}  // namespace migrate
