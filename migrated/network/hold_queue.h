// The hold queue: packets for a container that arrive at its host between the freeze and the
// hand-off wait in the kernel, and are sent on in order once routes, tunnels or connection tracking
// entries lead to the new place. A dropped one would cost its sender a retransmission time-out.
//
// They wait in front of connection tracking and translation, so they meet the entries and rules of
// the moment at which they are released. Bounded in packets, bytes and time: what does not fit is
// dropped as by a full router, and when the time is over everything is released. If the program
// dies the kernel drops what waits and lets everything else pass; the (then idle) table
// "migrate_hold_ID" stays until RemoveHold().
//
// While packets are held no base chain of any nftables table may be removed in that namespace: the
// kernel would drop them. See hook_lease.h, through which our own tables go.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/relay.h"

namespace migrate {

inline constexpr std::uint32_t kHoldMaxPackets = 16384;
inline constexpr std::size_t kHoldMaxBytes = std::size_t{32} * 1024 * 1024;
inline constexpr std::chrono::milliseconds kHoldTimeLimit = std::chrono::seconds(60);

struct HoldTuple {
  Protocol protocol = Protocol::kTcp;
  ConntrackTuple tuple;  // as the packet comes in, before translation

  auto operator<=>(const HoldTuple&) const = default;
};

// Packets that fit any of the three lists are held, those that are made on the host included.
struct HoldSpec {
  std::string id;  // 16 hex digits
  // Published ports at local addresses; container_port does not matter. Empty host address: every
  // local address of IPv4 and IPv6; "0.0.0.0" and "::" stand for one of them.
  std::vector<RelayPort> ports;
  std::vector<HoldTuple> tuples;
  std::vector<std::string> addresses;  // everything that goes there
  // Only the first packets of new TCP connections; everything else passes.
  bool only_new = false;

  // Those given to Start() hold to the end.
  std::uint32_t max_packets = kHoldMaxPackets;
  std::size_t max_bytes = kHoldMaxBytes;
  std::chrono::milliseconds time_limit = kHoldTimeLimit;
};

struct HoldStats {
  std::uint64_t packets = 0;  // that were held; a large segment counts once
  std::uint64_t bytes = 0;
  std::uint64_t dropped = 0;  // did not fit
  std::uint64_t lost = 0;     // dropped by the kernel while they waited
  std::chrono::microseconds longest{0};
  bool timed_out = false;
};

class HoldQueue {
 public:
  // From its return on packets are held. kAlreadyExists if there is a hold with this id, even one
  // of a program that is dead.
  static Result<std::unique_ptr<HoldQueue>> Start(FdRef host_netns, const HoldSpec& spec);

  HoldQueue(const HoldQueue&) = delete;
  HoldQueue& operator=(const HoldQueue&) = delete;
  ~HoldQueue();  // releases

  // Replaces what is held, in one transaction; the id must be the same. What waits goes on waiting.
  // Adding takes a millisecond, removing waits for all CPUs. After an error what was held is still
  // held. kDeadlineExceeded if the time is over.
  Result<> Update(const HoldSpec& spec);

  // Accepts everything, then removes the rules. Packets flow from its first moment; the kernel
  // takes some ten milliseconds more to forget the rules. Idempotent. After an error packets flow
  // nevertheless, and RemoveHold() may remove what is left.
  Result<HoldStats> Release();

  HoldStats stats() const;

 private:
  struct Parts;
  explicit HoldQueue(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

// Whether packets can be held in this namespace. kFailedPrecondition says what the kernel lacks.
// Changes nothing. To be called early: the first call in the life of a program takes longer.
Result<> CheckHold(FdRef host_netns);

// For what a dead program left, before this one holds anything. Success if there is nothing.
Result<> RemoveHold(FdRef host_netns, std::string_view id);

// The ids of all holds, those of this program included.
Result<std::vector<std::string>> FindHolds(FdRef host_netns);

}  // namespace migrate
