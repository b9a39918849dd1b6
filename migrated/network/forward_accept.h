// Permission to forward through one device, or to and from one address, on a host whose firewall
// Docker manages: two rules in the DOCKER-USER chain, which Docker leaves to the administrator and
// calls first; of IPv6, where Docker has no such chain, in FORWARD. Internal to migrated/network;
// acts in the current network namespace; idempotent.
#pragma once

#include <string>

#include "base/result.h"

namespace migrate::internal {

// kFailedPrecondition if forwarding is off, or dropped by a firewall that we cannot open.
Result<> CheckForwarding();  // of IPv4
Result<> CheckForwardingOf(int family);

// `family` is nftables' word, "ip" or "ip6".
Result<> AcceptForwarding(const std::string& link, const std::string& family = "ip");
Result<> RevokeForwarding(const std::string& link, const std::string& family = "ip");

// Whether somebody decides which IPv6 packets this host forwards: Docker with its option ip6tables,
// or a policy that drops.
Result<bool> FiltersForwardedIpv6();

// IPv4 or IPv6. Also first in the chain PREROUTING of the table raw, if there is one: Docker 28
// drops there what comes to a container's address from outside. `mark` is the rules' comment, and
// is all that it takes to find them again.
Result<> AcceptAddress(const std::string& address, const std::string& mark);
Result<> RevokeAddress(const std::string& address, const std::string& mark);
Result<> RevokeAddresses(const std::string& mark);

}  // namespace migrate::internal
