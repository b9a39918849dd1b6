#include "migrated/network/hook_lease.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>

#include "base/check.h"
#include "migrated/network/nft.h"

namespace migrate::internal {
namespace {

using NetnsId = std::pair<unsigned long, unsigned long>;

struct Holds {
  int active = 0;
  int next_order = 0;
  std::vector<NftTable> retired;
};

// Held while tables are removed: a new lease waits until the hooks are gone.
std::mutex& Mutex() {
  static std::mutex mutex;
  return mutex;
}

// Only namespaces with active holds have an item. Guarded by Mutex().
std::map<NetnsId, Holds>& AllHolds() {
  static std::map<NetnsId, Holds> holds;
  return holds;
}

NetnsId CurrentNetns() {
  struct stat status {};
  CHECK(stat("/proc/thread-self/ns/net", &status) == 0);
  return {status.st_dev, status.st_ino};
}

void AddOnce(std::vector<NftTable>& tables, const NftTable& table) {
  if (std::find(tables.begin(), tables.end(), table) == tables.end()) {
    tables.push_back(table);
  }
}

// Leaves the base chains, and other chains, without a rule.
Result<std::string> CommandsToEmpty(const NftTable& table) {
  const auto name = table.family + " " + table.name;
  auto listed = RunNft("list table " + name);
  if (!listed && listed.error().code != ErrorCode::kNotFound) {
    return Error(std::move(listed).error());
  }
  std::string commands = "add table " + name + "\nflush table " + name + "\n";
  std::istringstream words(listed.value_or(""));
  for (std::string line, kind, set; std::getline(words, line);) {
    if (std::istringstream(line) >> kind >> set && (kind == "set" || kind == "map") &&
        line.ends_with("{")) {
      commands += "delete " + kind + " " + name + " " + set + "\n";
    }
  }
  return commands;
}

Result<> Remove(const std::vector<NftTable>& tables) {
  std::string commands;
  for (const auto& table : tables) {
    auto name = table.family + " " + table.name + "\n";
    commands += "add table " + name + "delete table " + name;
  }
  if (!commands.empty()) {
    TRY(RunNft(commands));
  }
  return {};
}

}  // namespace

HookLease::HookLease() : netns_(CurrentNetns()) {
  std::lock_guard lock(Mutex());
  auto& holds = AllHolds()[netns_];
  ++holds.active;
  order_ = holds.next_order++;
}

HookLease::~HookLease() {
  if (ended_) {
    return;
  }
  std::lock_guard lock(Mutex());
  auto holds = AllHolds().find(netns_);
  if (--holds->second.active == 0) {
    AllHolds().erase(holds);  // this may be the wrong namespace to remove tables
  }
}

Result<> HookLease::End(const std::vector<NftTable>& tables) {
  CHECK(!ended_ && netns_ == CurrentNetns());
  ended_ = true;
  std::lock_guard lock(Mutex());
  auto holds = AllHolds().find(netns_);
  for (const auto& table : tables) {
    AddOnce(holds->second.retired, table);
  }
  if (--holds->second.active > 0) {
    std::string commands;
    for (const auto& table : tables) {
      commands += TRY(CommandsToEmpty(table));
    }
    TRY(RunNft(commands));
    return {};
  }
  auto retired = std::move(holds->second.retired);
  AllHolds().erase(holds);
  return Remove(retired);
}

Result<> RetireNftTable(const NftTable& table) {
  std::lock_guard lock(Mutex());
  auto holds = AllHolds().find(CurrentNetns());
  if (holds == AllHolds().end()) {
    return Remove({table});
  }
  AddOnce(holds->second.retired, table);
  TRY(RunNft(TRY(CommandsToEmpty(table))));
  return {};
}

Result<std::string> ResetNftTable(const NftTable& table) {
  std::lock_guard lock(Mutex());
  auto holds = AllHolds().find(CurrentNetns());
  if (holds != AllHolds().end()) {
    std::erase(holds->second.retired, table);
    return CommandsToEmpty(table);
  }
  auto name = table.family + " " + table.name + "\n";
  return "add table " + name + "delete table " + name;
}

bool IsRetired(const NftTable& table) {
  std::lock_guard lock(Mutex());
  auto holds = AllHolds().find(CurrentNetns());
  return holds != AllHolds().end() &&
         std::find(holds->second.retired.begin(), holds->second.retired.end(), table) !=
             holds->second.retired.end();
}

}  // namespace migrate::internal
