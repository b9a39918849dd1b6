// The network lock of a container: while it is set, no packet gets into or out of the container's
// network namespace, the loopback device excepted. It drops silently: the kernel answers nothing
// (no ACK, RST or ICMP), and a FIN or RST of a socket that is closed meanwhile stays inside.
//
// What it makes: table "inet migrate_lock" in that namespace; nothing else. Nobody owns it: it
// outlives the program, and UnlockNetns() of any program removes it. All functions are idempotent
// and thread-safe. It does not hold packets: the peers retransmit what was dropped. ARP is not IP
// and is still answered.
#pragma once

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

inline constexpr char kNetlockTable[] = "migrate_lock";

Result<> LockNetns(FdRef netns);
Result<> UnlockNetns(FdRef netns);
Result<bool> IsLocked(FdRef netns);

}  // namespace migrate
