// The rule that puts packets into an NFQUEUE, in whichever of two ways the kernel knows: the queue
// statement of nftables, or the target NFQUEUE of xtables within nftables, which libnftables cannot
// make. Acts in the current network namespace. Internal to migrated/network. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace migrate::internal {

enum class QueueStatement { kNative, kTarget };

// Asks the kernel once in the life of the program. kFailedPrecondition if it knows neither.
Result<QueueStatement> FindQueueStatement();

// The native rule's text: packets go on if nobody listens.
std::string QueueRuleText(std::uint16_t number);

struct ChainName {
  std::string family;  // "ip" or "ip6"
  std::string table;
  std::string chain;
};

// Appends the target to all of the chains in one transaction.
Result<> AppendQueueTarget(const std::vector<ChainName>& chains, std::uint16_t number);

}  // namespace migrate::internal
