// The nftables side of a hold, as text for RunNft(): which packets are led into the queue.
//
// A table "ip" and one "ip6", each only if it is needed, both named after the id:
//
//   prerouting, output -> match -> select -> enqueue
//
// All rules come with the frame and stay. What is held is in sets, so that a change that only adds
// is one that only adds to the kernel, too: whenever something is removed there, the next call
// waits until all CPUs have forgotten it (RCU), some ten milliseconds. Base chains are removed when
// the hold has ended (hook_lease.h).
//
// Pure functions. Internal to migrated/network.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "migrated/network/hold_queue.h"

namespace migrate::internal {

inline constexpr std::string_view kHoldTablePrefix = "migrate_hold_";
inline constexpr char kHoldQueueChain[] = "enqueue";

std::string HoldTableName(std::string_view id);

Result<> ValidateHold(const HoldSpec& spec);

// "ip" and "ip6", as far as the spec names packets of that family. Without `with_ipv6` a port
// at every address is one of IPv4 alone.
std::vector<std::string> HoldFamilies(const HoldSpec& spec, bool with_ipv6);

// Table, chains and rules that hold nothing yet. `order` tells this hold apart from others of the
// namespace (hook_lease.h). `queue_rule` may be empty, to be appended.
std::string HoldFrameCommands(const std::string& family, const std::string& table, int order,
                              const std::string& queue_rule);

// The elements of the sets of one family, by the name of the set.
using HoldElements = std::map<std::string, std::set<std::string>>;
HoldElements HoldElementsOf(const std::string& family, const HoldSpec& spec);

// What leads from `before` to `after`.
std::string HoldChangeCommands(const std::string& family, const std::string& table,
                               const HoldElements& before, const HoldElements& after);

// From then on nothing is queued. Fails with kNotFound if there is no such table.
std::string HoldStopCommands(const std::string& family, const std::string& table);

}  // namespace migrate::internal
