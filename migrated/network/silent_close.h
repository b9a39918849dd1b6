// Makes the TCP connections of processes end without a packet: once TCP_REPAIR is on, the close
// that the death of the process brings sends neither FIN nor RST, and leaves no orphan that would
// keep the network namespace alive for minutes. For a source container that is frozen and about to
// be killed; nothing of it can be undone. Thread-safe.
#pragma once

#include <vector>

#include "base/result.h"

namespace migrate {

// The number of sockets. Processes and sockets that are gone are left out.
Result<int> SilenceConnections(const std::vector<int>& processes);

}  // namespace migrate
