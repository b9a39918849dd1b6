// Tunnels and routes run between addresses, peers have names.
#pragma once

#include <string>

#include "base/result.h"

namespace migrate {

// The first IPv4 (or IPv6) address of "host" or "host:port"; blocks for as long as the resolver
// does. kUnavailable if there is none.
Result<std::string> ResolveIpv4(const std::string& endpoint);
Result<std::string> ResolveIpv6(const std::string& endpoint);

}  // namespace migrate
