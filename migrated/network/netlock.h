// The network lock of a container: while it is set, no packet gets into or out of the container's
// network namespace, the loopback device excepted. It drops silently: the kernel answers nothing
// (no ACK, RST or ICMP), and a FIN or RST of a socket that is closed meanwhile stays inside.
//
// ARP is silenced as well: while the container is frozen somebody else may answer for its address
// (stand_in.h). Neighbours that asked meanwhile ask again only a second later, so announce the
// addresses after unlocking (AnnounceOwnAddresses). A kernel without nftables' ARP family still
// answers.
//
// What it makes: tables "inet migrate_lock" and "arp migrate_lock" in that namespace; nothing else.
// Nobody owns them: they outlive the program, and UnlockNetns() of any program removes them. All
// functions are idempotent and thread-safe. It does not hold packets: the peers retransmit what
// was dropped.
#pragma once

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

inline constexpr char kNetlockTable[] = "migrate_lock";

Result<> LockNetns(FdRef netns);
Result<> UnlockNetns(FdRef netns);
Result<bool> IsLocked(FdRef netns);

}  // namespace migrate
