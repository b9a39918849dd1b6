// Whenever a netfilter hook (a base chain of any table) goes away, the kernel drops the packets in
// all NFQUEUEs of that network namespace. So while packets are held no base chain of ours may be
// removed there: tables are emptied, and removed when the last hold of the namespace has ended.
//
// HookLease: one hold. Its place in the order matters, too: a queued packet goes on at an index in
// the list of hooks, so no hook may be put in front of one that has queued. Packets are queued by
// hooks of priority kHoldPriority to kLastHoldPriority; ours that may come up while packets are
// held have to be behind them.
//
// All functions concern the network namespace of the calling thread, and only this program's holds.
// Thread-safe. Internal to migrated/network.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace migrate::internal {

inline constexpr int kHoldPriority = -350;  // after defragmentation, before connection tracking
inline constexpr int kLastHoldPriority = -341;
inline constexpr int kGuardPriority = -340;
inline constexpr int kReroutePriority = -339;

struct NftTable {
  std::string family;
  std::string name;

  bool operator==(const NftTable&) const = default;
};

class HookLease {
 public:
  HookLease();
  HookLease(const HookLease&) = delete;
  HookLease& operator=(const HookLease&) = delete;
  ~HookLease();

  // 0 for a hold that found the namespace without any, otherwise one more than the latest's.
  int order() const { return order_; }

  // Ends it, in its namespace. The tables go now if this was the last one, with all that waited for
  // it.
  Result<> End(const std::vector<NftTable>& tables);

 private:
  std::pair<unsigned long, unsigned long> netns_;  // device and inode
  int order_ = 0;
  bool ended_ = false;
};

// Empties the table, its sets included, and removes it at once or with the last hold. Success if
// there is none.
Result<> RetireNftTable(const NftTable& table);

// Stands in place of "delete table" at the start of a transaction that makes the table anew.
// While packets are held it keeps the base chains, which therefore must have the same type, hook
// and priority whenever they have the same name.
Result<std::string> ResetNftTable(const NftTable& table);

// Exists only because a hold has not ended yet.
bool IsRetired(const NftTable& table);

}  // namespace migrate::internal
