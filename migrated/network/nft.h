// RunNft: hands commands in nft's language to the kernel through libnftables. All commands of one
// call are one transaction: either all of them take effect or none. Acts in the network namespace
// of the calling thread; use it inside InNetns() for another one.
//
// libnftables keeps global state (xtables extensions, parser), so calls are serialised by a mutex:
// thread-safe, short. Failure: kNotFound if the kernel says that a named object does not exist,
// kAlreadyExists likewise, otherwise kInternal, with nft's own text.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace migrate {

// kText: symbolic numbers, no counters and other state, so that two listings compare.
// kHandles: the same with rule handles. kJson: with handles and state.
enum class NftOutput { kText, kHandles, kJson };

// The output of the "list" commands among `commands`.
Result<std::string> RunNft(std::string_view commands, NftOutput output = NftOutput::kText);

Result<bool> NftTableExists(std::string_view family, std::string_view table);

// Removes the table with everything in it; success if there is none.
Result<> RemoveNftTable(std::string_view family, std::string_view table);

}  // namespace migrate
