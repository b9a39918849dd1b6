// Permission to forward through one device on a host whose firewall Docker manages: two rules in
// the DOCKER-USER chain, which Docker leaves to the administrator and calls first. Internal to
// migrated/network; acts in the current network namespace; idempotent.
#pragma once

#include <string>

#include "base/result.h"

namespace migrate::internal {

// kFailedPrecondition if forwarding is off, or dropped by a firewall that we cannot open.
Result<> CheckForwarding();

Result<> AcceptForwarding(const std::string& link);
Result<> RevokeForwarding(const std::string& link);

}  // namespace migrate::internal
