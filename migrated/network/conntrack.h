// Connection tracking entries (TCP and UDP) of a network namespace, and how the entries of a
// container's address are turned into entries of its relay address, so that packets of connections
// that exist go on being translated once the container is elsewhere.
//
// Owns nothing: entries are the kernel's. Needs CAP_NET_ADMIN. Thread-safe. Times in seconds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"

namespace migrate {

struct ConntrackTuple {
  std::string source_address;
  std::uint16_t source_port = 0;
  std::string destination_address;
  std::uint16_t destination_port = 0;

  auto operator<=>(const ConntrackTuple&) const = default;
};

struct ConntrackEntry {
  Protocol protocol = Protocol::kTcp;
  ConntrackTuple original;     // as the first packet came in, before translation
  ConntrackTuple reply;        // as the answer comes in, before it is translated back
  std::uint8_t tcp_state = 0;  // the kernel's enum tcp_conntrack: 3 is ESTABLISHED
  bool seen_reply = false;
  bool assured = false;
  std::uint32_t timeout = 0;
  std::uint32_t mark = 0;
  std::uint16_t zone = 0;

  auto operator<=>(const ConntrackEntry&) const = default;
};

// One entry to be replaced by another. Write the list down before it is applied: it is also the
// undo list.
struct ConntrackMove {
  ConntrackEntry before;
  ConntrackEntry after;

  auto operator<=>(const ConntrackMove&) const = default;
};

Result<std::vector<ConntrackEntry>> ListConntrack(FdRef netns);

// Success if there is no such entry (found by its original tuple).
Result<> DeleteConntrack(FdRef netns, const ConntrackEntry& entry);

// Success if the entry exists; kAlreadyExists if one of its tuples belongs to another. The
// translation follows from the two tuples.
Result<> CreateConntrack(FdRef netns, const ConntrackEntry& entry);

// Pure: for every entry that leads to (or comes from) one of `from`, the same with `to` in its
// place; addresses of one family. Connections that are being opened or are over are left out, but
// for those of `alive`, the container's own: tracking takes a half-closed one for over when a FIN
// is sent twice.
std::vector<ConntrackMove> PlanConntrackMoves(const std::vector<ConntrackEntry>& entries,
                                              const std::vector<std::string>& from,
                                              const std::string& to,
                                              const std::vector<Connection>& alive = {});
// Pure: what undoes `moves`.
std::vector<ConntrackMove> ReverseConntrackMoves(const std::vector<ConntrackMove>& moves);

inline constexpr char kConntrackGuardTable[] = "migrate_guard";  // of families ip and ip6

// Carries the moves out. While it works packets of these connections are dropped in the namespace
// (table "ip migrate_guard", "ip6 ..."), otherwise the host would answer those without an entry
// with a RST. Idempotent: may be repeated, e.g. after something else deleted the entries. The
// result: moves that failed because their new tuple is taken by another connection, which is lost.
Result<std::vector<ConntrackMove>> ApplyConntrackMoves(FdRef netns,
                                                       const std::vector<ConntrackMove>& moves);

// TCP entries that lead to or come from the address no longer judge windows, as is necessary where
// only one direction of a connection passes this host.
Result<> LoosenConntrackOf(FdRef netns, const std::string& address);

// Deletes all entries that lead to or come from the address.
Result<> DeleteConntrackOf(FdRef netns, const std::string& address);

}  // namespace migrate
