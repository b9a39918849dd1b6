// Requests to the kernel's netfilter (nfnetlink) that have no library call of their own. Acts in
// the network namespace of the calling thread: a socket goes on belonging to the one in which it
// was opened. Internal to migrated/network. Thread-safe for different sockets.
#pragma once

#include <cstddef>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate::internal {

// Blocking, but gives up waiting for an answer after a while.
Result<OwnedFd> OpenNfnetlink();

// Sends one or more messages and waits for `acks` acknowledgements; what else comes is skipped.
// The value: 0, or the error number with which the kernel refused one of them.
Result<int> RequestNfnetlink(FdRef socket, const void* messages, std::size_t bytes, int acks);

}  // namespace migrate::internal
