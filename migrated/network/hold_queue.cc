#include "migrated/network/hold_queue.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "base/ids.h"
#include "migrated/network/hold_pump.h"
#include "migrated/network/hold_rules.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/nfqueue.h"
#include "migrated/network/nfqueue_rule.h"
#include "migrated/network/nft.h"

namespace migrate {

using namespace internal;  // NOLINT: this file is the other half of it

namespace {

using namespace std::chrono_literals;

// Under a flood the queue is never empty; then the rules go nevertheless.
constexpr auto kDrainTime = 500ms;
// A CPU that is in the middle of our rules when they go may still queue a packet.
constexpr auto kInFlightTime = 1ms;

Result<OwnedFd> Duplicate(FdRef fd) {
  OwnedFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) {
    return ErrnoError("duplicate a descriptor");
  }
  return copy;
}

bool HasIpv6() { return access("/proc/thread-self/net/if_inet6", F_OK) == 0; }

// Of this namespace.
Result<std::vector<NftTable>> HoldTables() {
  std::vector<NftTable> tables;
  for (const char* family : {"ip", "ip6"}) {
    std::istringstream lines(TRY(RunNft("list tables " + std::string(family))));
    const std::string start = "table " + std::string(family) + " " + std::string(kHoldTablePrefix);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(start) && IsMigrationId(line.substr(start.size()))) {
        tables.push_back({family, HoldTableName(line.substr(start.size()))});
      }
    }
  }
  return tables;
}

}  // namespace

// All functions but Wait() are called in the host's namespace, with `control` locked or before
// there is a second thread.
struct HoldQueue::Parts {
  const OwnedFd netns;
  const std::string id;
  const std::string table = HoldTableName(id);

  std::mutex control;
  std::optional<HookLease> lease;
  std::unique_ptr<HoldPump> pump;            // until the end
  std::map<std::string, HoldElements> held;  // by family, of those that have a table
  std::optional<Result<>> ended;
  HoldStats final_stats;

  std::condition_variable over;
  bool released = false;
  std::thread deadline;

  Parts(OwnedFd in, std::string with_id) : netns(std::move(in)), id(std::move(with_id)) {}

  Result<> SetUp(const HoldSpec& spec);
  Result<> Apply(const HoldSpec& spec);
  Result<> TakeDown();
  void End(bool timed_out);
  void Wait(std::chrono::steady_clock::time_point until);
};

Result<> HoldQueue::Parts::SetUp(const HoldSpec& spec) {
  // Before the lease: the kernel may have to look for a module.
  TRY(FindQueueStatement());
  lease.emplace();
  auto queue = TRY(NfQueue::Bind(spec.max_packets));
  OwnedFd wake(eventfd(0, EFD_CLOEXEC));
  if (!wake) {
    return ErrnoError("eventfd");
  }
  // Before the rules, which let packets pass while nobody listens.
  pump = std::make_unique<HoldPump>(std::move(queue), std::move(wake), spec.max_bytes);
  return Apply(spec);
}

Result<> HoldQueue::Parts::Apply(const HoldSpec& spec) {
  auto statement = TRY(FindQueueStatement());
  auto after = held;
  std::vector<ChainName> fresh;
  std::string commands;
  for (const auto& family : HoldFamilies(spec, HasIpv6())) {
    if (!after.try_emplace(family).second) {
      continue;
    }
    // Unlike "table", "create" fails if there is one.
    commands += IsRetired({family, table}) ? TRY(ResetNftTable({family, table}))
                                           : "create table " + family + " " + table + "\n";
    commands += HoldFrameCommands(
        family, table, lease->order(),
        statement == QueueStatement::kNative ? QueueRuleText(pump->number()) : "");
    fresh.push_back({family, table, kHoldQueueChain});
  }
  for (auto& [family, elements] : after) {
    auto wanted = HoldElementsOf(family, spec);
    commands += HoldChangeCommands(family, table, elements, wanted);
    elements = std::move(wanted);
  }
  if (!commands.empty()) {
    TRY(RunNft(commands));
  }
  held = std::move(after);
  if (!fresh.empty() && statement == QueueStatement::kTarget) {
    TRY(AppendQueueTarget(fresh, pump->number()));
  }
  return {};
}

Result<> HoldQueue::Parts::TakeDown() {
  std::vector<NftTable> tables;
  Result<> stopped;
  for (const auto& [family, elements] : held) {
    tables.push_back({family, table});
    auto run = RunNft(HoldStopCommands(family, table));
    if (!run && run.error().code != ErrorCode::kNotFound) {
      stopped = Error(std::move(run).error());
    }
  }
  if (pump && !tables.empty()) {
    // Meanwhile the pump has accepted what came at once. The removal of the base chains below
    // would drop what still waits.
    std::this_thread::sleep_for(kInFlightTime);
    pump->Drain(kDrainTime);
  }
  auto removed = lease ? lease->End(tables) : Result<>();
  return stopped ? removed : stopped;
}

void HoldQueue::Parts::End(bool timed_out) {
  if (ended) {
    return;
  }
  pump->Open();
  pump->Drain(kDrainTime);
  ended = InNetns(netns, [this] { return TakeDown(); });
  final_stats = pump->stats();
  final_stats.timed_out = timed_out;
  pump.reset();
}

void HoldQueue::Parts::Wait(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(control);
  if (!over.wait_until(lock, until, [this] { return released; })) {
    End(/*timed_out=*/true);
  }
}

HoldQueue::HoldQueue(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HoldQueue::~HoldQueue() { (void)Release(); }

Result<std::unique_ptr<HoldQueue>> HoldQueue::Start(FdRef host_netns, const HoldSpec& spec) {
  TRY(ValidateHold(spec));
  auto parts = std::make_unique<Parts>(TRY(Duplicate(host_netns)), spec.id);
  TRY(InNetns(parts->netns, [&] {
    auto done = parts->SetUp(spec);
    if (!done) {
      (void)parts->TakeDown();
    }
    return done;
  }));
  parts->deadline = std::thread([raw = parts.get(), until = std::chrono::steady_clock::now() +
                                                            spec.time_limit] { raw->Wait(until); });
  return std::unique_ptr<HoldQueue>(new HoldQueue(std::move(parts)));
}

Result<> HoldQueue::Update(const HoldSpec& spec) {
  TRY(ValidateHold(spec));
  std::lock_guard lock(parts_->control);
  if (spec.id != parts_->id) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "hold " + parts_->id + " cannot become hold " + spec.id);
  }
  if (parts_->ended) {
    return MakeError(ErrorCode::kDeadlineExceeded, "hold " + spec.id + " is over");
  }
  return InNetns(parts_->netns, [&] { return parts_->Apply(spec); });
}

Result<HoldStats> HoldQueue::Release() {
  std::thread deadline;
  {
    std::lock_guard lock(parts_->control);
    parts_->End(/*timed_out=*/false);
    parts_->released = true;
    deadline = std::move(parts_->deadline);
  }
  parts_->over.notify_all();
  if (deadline.joinable()) {
    deadline.join();
  }
  TRY(*parts_->ended);
  return parts_->final_stats;
}

HoldStats HoldQueue::stats() const {
  std::lock_guard lock(parts_->control);
  return parts_->ended ? parts_->final_stats : parts_->pump->stats();
}

Result<> CheckHold(FdRef host_netns) {
  return InNetns(host_netns, []() -> Result<> {
    TRY(FindQueueStatement());
    return CheckNfQueue();
  });
}

Result<> RemoveHold(FdRef host_netns, std::string_view id) {
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "\"" + std::string(id) + "\" is not a migration id");
  }
  return InNetns(host_netns, [&]() -> Result<> {
    for (const auto& table : TRY(HoldTables())) {
      if (table.name == HoldTableName(id)) {
        TRY(RetireNftTable(table));
      }
    }
    return {};
  });
}

Result<std::vector<std::string>> FindHolds(FdRef host_netns) {
  return ValueInNetns<std::vector<std::string>>(
      host_netns, []() -> Result<std::vector<std::string>> {
        std::set<std::string> ids;
        for (const auto& table : TRY(HoldTables())) {
          if (!IsRetired(table)) {
            ids.insert(table.name.substr(kHoldTablePrefix.size()));
          }
        }
        return std::vector<std::string>(ids.begin(), ids.end());
      });
}

}  // namespace migrate
