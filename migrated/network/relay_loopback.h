// Connections from 127.0.0.1 of the origin that were led to R, while the container is at home:
// their packets pass its bridge, which then has to route loopback addresses (the tunnel's device
// always does). Opened only where such connections exist and nobody else has opened it, and with a
// guard: what comes from the bridge with a loopback address is dropped, else the host's own
// services would be open to its containers. The guard is a chain of the relay's table and tells
// what to close.
//
// IPv6: the same for ::1 needs neither setting nor guard, since the kernel drops what comes in from
// a device with that address. But it finds ::1 only where the device of an answer has a route for
// it: a local one, of the tunnel's device or the bridge. Its metric tells relays apart. And where
// br_netfilter has connection tracking see what a bridge passes on, answers have been translated
// back to ::1 before they come in from the bridge: there such connections end when the container
// comes home.
//
// Internal to migrated/network; acts in the current network namespace; idempotent.
#pragma once

#include <string>

#include "base/result.h"

namespace migrate::internal {

// Rules that drop what comes from `link` with a loopback address, for a chain in prerouting.
std::string LoopbackGuardRules(const std::string& link);

// The chain for the relay's table; empty if the bridge is, or has to be, open without it. Then
// ShutLoopback() is next, else OpenLoopback() once the chain exists.
Result<std::string> LoopbackGuardChain(const std::string& id, const std::string& bridge);
Result<> OpenLoopback(const std::string& bridge);

// To be called before the guard goes. Not while another relay needs it as well.
Result<> ShutLoopback(const std::string& id);

Result<> OpenLoopback6(const std::string& id, const std::string& link);
Result<> ShutLoopback6(const std::string& id);
// Whether answers from a bridge can be for ::1.
Result<bool> BridgesKeepLoopback6();
// For the relay's table, where they cannot: what still comes for `origin_address` is reset.
std::string LostLoopback6Chain(const std::string& origin_address);

}  // namespace migrate::internal
