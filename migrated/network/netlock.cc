#include "migrated/network/netlock.h"

#include <string>

#include "base/netns.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/nft.h"

namespace migrate {
namespace {

// Priority -500 is before connection tracking (-200) and before the translation of a relay: a
// dropped packet leaves no trace.
std::string LockCommands() {
  std::string table = std::string("inet ") + kNetlockTable;
  return "add table " + table + "\nflush table " + table + "\nadd chain " + table +
         " in { type filter hook prerouting priority -500; policy drop; }\nadd chain " + table +
         " out { type filter hook output priority -500; policy drop; }\nadd rule " + table +
         " in iifname \"lo\" accept\nadd rule " + table + " out oifname \"lo\" accept\n";
}

std::string ArpLockCommands() {
  std::string table = std::string("arp ") + kNetlockTable;
  return "add table " + table + "\nflush table " + table + "\nadd chain " + table +
         " in { type filter hook input priority 0; policy drop; }\nadd chain " + table +
         " out { type filter hook output priority 0; policy drop; }\n";
}

std::string RemoveCommands(const char* family) {
  std::string table = std::string(" table ") + family + " " + kNetlockTable + "\n";
  return "add" + table + "delete" + table;
}

}  // namespace

Result<> LockNetns(FdRef netns) {
  return InNetns(netns, []() -> Result<> {
    // One transaction, but the kernel may lack the family "arp".
    if (RunNft(LockCommands() + ArpLockCommands())) {
      return {};
    }
    TRY(RunNft(LockCommands()));
    return {};
  });
}

Result<> UnlockNetns(FdRef netns) {
  return InNetns(netns, []() -> Result<> {
    auto removed = RunNft(RemoveCommands("inet") + RemoveCommands("arp"));
    if (removed) {
      return {};
    }
    TRY(RemoveNftTable("inet", kNetlockTable));
    auto silent = NftTableExists("arp", kNetlockTable);
    return silent && *silent ? Result<>(std::move(removed).error()) : Result<>();
  });
}

Result<bool> IsLocked(FdRef netns) {
  return ValueInNetns<bool>(netns, [] { return NftTableExists("inet", kNetlockTable); });
}

}  // namespace migrate
