// The second half of SourceSteps (source_steps.h): the commit point, what follows it, and the way
// back before it.
#include "migrated/source_steps.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <set>
#include <thread>

#include "base/cgroup.h"
#include "base/limits.h"
#include "base/netns.h"
#include "migrated/address_mode.h"
#include "migrated/container_watch.h"
#include "migrated/fault_point.h"
#include "migrated/hand_off_hook.h"
#include "migrated/host_undo.h"
#include "migrated/network/relay.h"
#include "migrated/network/silent_close.h"
#include "migrated/relay_leads.h"
#include "migrated/relays.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFenceAttempts = 3;
constexpr auto kFenceRetryDelay = std::chrono::milliseconds(500);

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

// The commit point. When the write has returned, only the target may run; when it has failed, the
// record says so and the source goes on.
Result<> SourceSteps::PassCommitPoint() {
  cutover_start_ = Clock::now();
  TRY(Fault(FaultPoint::kBeforeCommit));
  TRY(watchdog_->CheckAlive());
  TRY(last_check_());
  record_.set_decision(v1::DECISION_COMMITTED);
  if (Result<> saved = save_(); !saved) {
    record_.set_decision(v1::DECISION_UNDECIDED);
    return saved;
  }
  frozen_->Release();  // whatever ends now, this daemon included: it never thaws the source again
  return {};
}

Result<> SourceSteps::HandOff() {
  TRY(Fault(FaultPoint::kCommitted));
  PeerClient* peer = TRY(Peer());
  // Before the replica runs: what it sent into a relay that is not there yet would be lost, and
  // cost its client a retransmission time-out.
  auto others = std::async(std::launch::async, [this] {
    return LeadRelaysThere(node_, record_, traffic_ ? traffic_->silent() : std::set<std::string>());
  });
  Result<> relay =
      SetUpOwnRelay(node_, record_, traffic_ ? std::optional(traffic_->stand_ins()) : std::nullopt);
  if (relay && record_.has_address_move()) {
    relay = LeadAddressAway(record_.address_move(), StandInId());
  }
  const std::vector<RelayNotLed> not_led = others.get();
  TRY(Fault(FaultPoint::kTrafficLed));
  v1::CommitRequest request;
  request.set_migration_id(record_id_);
  for (const RelayNotLed& other : not_led) {
    request.add_relays_to_lead(other.relay_id);
  }
  const Result<v1::CommitReply> committed =
      peer->Commit(request, {.timeout = limits::kRestoreTimeout});
  if (!committed) {
    return committed.error();
  }
  const auto now = Clock::now();
  // At once: clients wait for it.
  HoldStats held;
  if (traffic_) {
    held = traffic_->Release();
  } else {
    SourceTraffic(node_, record_, *peer).ReleaseOrigins();  // those of the daemon before this one
  }
  TRY(Fault(FaultPoint::kConfirmed));
  if (!relay) {
    // The container lives; who comes through this host does not reach it.
    Warn("clients of this host do not reach the container: " + relay.error().message);
  }
  for (const RelayNotLed& other : not_led) {
    Warn("clients that come through " + other.origin_node +
         " do not reach the container until its daemon answers, which is asked again and again: " +
         other.why);
  }
  progress_.Update([&](v1::Migration& migration) {
    if (traffic_) {
      migration.set_hold_ms(Milliseconds(now - freeze_start_));
      migration.set_held_packets(held.packets);
      migration.set_held_bytes(held.bytes);
      migration.set_held_dropped(held.dropped + held.lost);
    }
    if (freeze_start_ != Clock::time_point{}) {
      migration.set_cutover_ms(Milliseconds(now - cutover_start_));
      migration.set_downtime_ms(Milliseconds(now - freeze_start_) - committed->runs_for_ms());
    }
    if (relay) {
      migration.clear_relays();
      for (const std::string& line : DescribeRelays(node_, record_.lineage())) {
        migration.add_relays(line);
      }
    }
  });
  EndLease();
  if (record_.migration().options().network_mode() == v1::NETWORK_MODE_HOOK) {
    const Result<> hook = RunHandOffHook(node_.config(), record_);
    if (!hook) {
      Warn(hook.error().message);
    }
    v1::LineageRecord lineage = TRY(LineageRecordOf(node_, record_.lineage().id()));
    *lineage.mutable_lineage() = record_.lineage();
    lineage.set_hook_failed(!hook);
    TRY(node_.journal().Put(lineage));
  }
  return {};
}

// Past the commit point: the container moved, and something of what belongs to it did not work.
void SourceSteps::Warn(const std::string& text) {
  spdlog::error("migration {}: {}", record_id_, text);
  progress_.Update([&](v1::Migration& migration) { migration.add_warnings(text); });
}

// The undo list knows it also in a daemon that was restarted.
std::string SourceSteps::StandInId() const {
  for (const v1::UndoItem& item : record_.undo()) {
    if (item.kind() == v1::UndoItem::STAND_IN) {
      return item.detail().substr(0, item.detail().find(' '));
    }
  }
  return {};
}

// Closing the connections of the dead source must not be heard by anybody, and its namespace must
// not live on because of them: the tunnels in it have to go with it.
Result<> SourceSteps::CloseSilently(const std::string& cgroup) {
  const Result<std::vector<int>> processes = CgroupProcesses(cgroup);
  if (!processes || processes->empty()) {
    return {};  // it has ended already: a daemon before this one came so far
  }
  const int sockets = TRY(SilenceConnections(*processes));
  spdlog::debug("migration {}: {} connections closed silently", record_id_, sockets);
  const OwnedFd netns = TRY(OpenNetns(processes->front()));
  for (const v1::Relay& relay : record_.lineage().relays()) {
    TRY(RemoveContainerSide(netns, relay.id()));
  }
  return {};
}

// A fence that fails leaves a frozen, locked container, whose undo list tells `migrate gc` to end
// it.
Result<> SourceSteps::Fence() {
  Result<> fenced;
  for (int attempt = 1; attempt <= kFenceAttempts; ++attempt) {
    fenced = FenceOnce();
    if (fenced) {
      return {};
    }
    spdlog::warn("migration {}: fence: {}", record_id_, fenced.error().message);
    std::this_thread::sleep_for(kFenceRetryDelay);
  }
  Warn("the old container could not be ended: " + fenced.error().message +
       "; it stays frozen until `migrate gc --remove`");
  return fenced;
}

Result<> SourceSteps::FenceOnce() {
  TRY(Fault(FaultPoint::kFencing));
  const std::string& id = record_.migration().container_id();
  // Without this a restart policy would bring the fenced container back.
  if (auto updated = node_.docker().UpdateRestartPolicy(id, RestartPolicy{}); !updated) {
    spdlog::warn("migration {}: restart policy of {}: {}", record_id_, id, updated.error().message);
  }
  for (const v1::UndoItem& item : record_.undo()) {
    if (item.kind() == v1::UndoItem::FROZEN_CGROUP) {
      // Every process gets its SIGKILL while it is frozen, and the network is locked: it ends
      // without one more instruction, and without a FIN or RST.
      TRY(CloseSilently(item.name()));
      TRY(KillCgroup(item.name()));
    }
  }
  frozen_.reset();
  watchdog_.reset();
  TRY(KeepContainerDown(node_, id));
  TRY(LeaveSourceBehind(node_, record_, progress_));
  if (record_.has_address_move()) {
    TRY(SettleAddressAway(record_.address_move()));
  }
  TRY(Fault(FaultPoint::kFenced));
  std::error_code error;
  std::filesystem::remove_all(node_.MigrationDirectoryPath(record_id_), error);
  record_.clear_undo();
  return save_();
}

Result<> SourceSteps::Undo() {
  std::vector<std::string> undone;
  // Latest first: thaw, unlock, files. The container runs again before the target is told, which
  // is safe: without this side's commit the target never goes live.
  if (frozen_) {
    frozen_->Release();  // the undo list has it
  }
  google::protobuf::RepeatedPtrField<v1::UndoItem> left;  // for `migrate gc`
  for (int i = record_.undo_size() - 1; i >= 0; --i) {
    if (leave_paused_ && record_.undo(i).kind() == v1::UndoItem::FROZEN_CGROUP) {
      continue;
    }
    if (auto text = UndoOnHost(node_, record_.undo(i))) {
      if (!text->empty()) {
        undone.push_back(std::move(*text));
      }
    } else {
      spdlog::error("migration {}: undo: {}", record_id_, text.error().message);
      *left.Add() = record_.undo(i);
    }
  }
  std::reverse(left.begin(), left.end());
  if (traffic_) {
    traffic_->ReleaseOrigins();
  }
  frozen_.reset();
  watchdog_.reset();
  EndLease();
  // A fresh daemon does not know whether the target knows of it; telling it does no harm.
  const bool fresh = !peer_;
  if (Result<PeerClient*> peer = Peer(); peer && (fresh || reserved_)) {
    if (fresh) {
      SourceTraffic(node_, record_, **peer).ReleaseOrigins();
    }
    v1::PeerAbortRequest request;
    request.set_migration_id(record_id_);
    if (auto aborted = (*peer)->Abort(request, {.timeout = limits::kPeerCallTimeout})) {
      undone.insert(undone.end(), aborted->undone().begin(), aborted->undone().end());
    } else if (aborted.error().reason == "PAST_COMMIT_POINT") {
      return aborted.error();  // its operator has let the replica run: see source_doubt.cc
    } else {
      spdlog::warn("migration {}: the target was not told ({}); it will ask", record_id_,
                   aborted.error().message);
    }
  }
  *record_.mutable_undo() = left;
  progress_.Update([&](v1::Migration& migration) {
    for (const std::string& text : undone) {
      migration.mutable_failure()->add_undone(text);
    }
  });
  return save_();
}

}  // namespace migrate
