// The sockets of other processes, borrowed one by one through pidfd_getfd: what is set on such a
// copy is set on the process's own socket. For stopped or frozen processes: one that runs may close
// a socket meanwhile, which is then left out. Needs root. Thread-safe.
#pragma once

#include <functional>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

// Calls `visit` with every socket of the processes; one that several descriptors or processes share
// is visited for each of them. A process that is gone is left out.
Result<> ForEachSocket(const std::vector<int>& processes,
                       const std::function<void(FdRef socket)>& visit);

// Restored connections get their full segment size back, and what one had not sent yet is sent now.
// CRIU hands it to the kernel while the network is locked, where it stays until something pushes: a
// client that waits for it would wait for a timer of a second. The number of connections pushed.
Result<int> PushUnsent(const std::vector<int>& processes);

// How many connections have urgent data (MSG_OOB) that nobody has read: CRIU cannot carry it.
Result<int> CountUnreadUrgent(const std::vector<int>& processes);

}  // namespace migrate
