#include "migrated/target_migration.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>

#include "base/cgroup.h"
#include "base/criu_files.h"
#include "base/file_util.h"
#include "base/limits.h"
#include "base/netns.h"
#include "migrated/address_mode.h"
#include "migrated/call_scope.h"
#include "migrated/compatibility.h"
#include "migrated/container_processes.h"
#include "migrated/container_watch.h"
#include "migrated/fault_point.h"
#include "migrated/hold_keeper.h"
#include "migrated/host_undo.h"
#include "migrated/log_tree.h"
#include "migrated/network/announce.h"
#include "migrated/network/netlock.h"
#include "migrated/network/process_sockets.h"
#include "migrated/oci_runtime/replica_tasks.h"
#include "migrated/oci_runtime/ticket.h"
#include "migrated/preflight.h"
#include "migrated/relay_leads.h"
#include "migrated/relays.h"
#include "migrated/replica_timers.h"
#include "migrated/ship/chunk_stream.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kLease = std::chrono::seconds(20);
constexpr auto kCallQueue = std::chrono::seconds(60);

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

}  // namespace

#define MIGRATE_ONE_CALL_AT_A_TIME()                                                       \
  const CallScope call_scope(calls_, last_contact_ms_);                                    \
  std::unique_lock lock(mutex_, kCallQueue);                                               \
  if (!lock.owns_lock()) {                                                                 \
    return MakeError(ErrorCode::kUnavailable,                                              \
                     "the target is still busy with an earlier call of migration " + id_); \
  }

TargetMigration::TargetMigration(Node& node, v1::MigrationRecord record)
    : node_(node),
      id_(record.migration().id()),
      record_(std::move(record)),
      progress_(record_.migration()),
      may_have_run_(record_.decision() == v1::DECISION_COMMITTED ||
                    record_.decision() == v1::DECISION_ACTIVATED),
      last_contact_ms_(NowMs()) {}

TargetMigration::~TargetMigration() = default;

void TargetMigration::Touch() { last_contact_ms_ = NowMs(); }

Result<> TargetMigration::RequireOpen() const {
  if (ended_) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "migration " + id_ +
                         " has ended at the target: " + progress_.Snapshot().failure().message(),
                     "MIGRATION_ENDED");
  }
  return {};
}

Result<> TargetMigration::Save() {
  *record_.mutable_migration() = progress_.Snapshot();
  return node_.journal().Put(record_);
}

Result<> TargetMigration::AddUndo(v1::UndoItem::Kind kind, const std::string& name,
                                  const std::string& detail) {
  v1::UndoItem* item = record_.add_undo();
  item->set_kind(kind);
  item->set_name(name);
  item->set_detail(detail);
  return Save();
}

OnCreate TargetMigration::OnCreated() {
  return [this](const UndoItem& item) -> Result<> {
    const std::lock_guard lock(record_mutex_);
    return AddUndo(v1::UndoItem::DOCKER, item.name, std::string(UndoKindName(item.kind)));
  };
}

Result<v1::PrepareReply> TargetMigration::Prepare(const v1::PrepareRequest& request) {
  MIGRATE_ONE_CALL_AT_A_TIME();
  TRY(RequireOpen());
  const v1::Node self = node_.Describe();
  v1::PrepareReply reply;
  for (v1::Blocker& blocker : CompatibilityBlockers(request.source(), self)) {
    *reply.add_blockers() = std::move(blocker);
  }
  if (reply.blockers_size() > 0) {
    return reply;
  }
  spec_ = TRY(SpecFromJson(request.spec()));
  TRY(FindTargetBlockers(node_, *spec_, request, reply));
  if (reply.blockers_size() > 0 || request.dry_run()) {
    return reply;
  }
  if (const Result<> reserved = Reserve(request); !reserved) {
    // The source hears of a refusal and goes on; nothing may be left waiting for it here.
    node_.ship().ForgetMigration(id_);
    (void)AbortLocked(reserved.error());
    return reserved.error();
  }
  return reply;
}

Result<> TargetMigration::Reserve(const v1::PrepareRequest& request) {
  progress_.Update([&](v1::Migration& migration) {
    migration.set_container_name(spec_->name);
    migration.set_container_id(spec_->source_id);
  });
  record_.set_spec(request.spec());
  record_.set_final_name(spec_->name);
  *record_.mutable_lineage() = request.lineage();
  TRY(node_.ship().ExpectStreams(id_));
  TRY(AddUndo(v1::UndoItem::DIRECTORY, node_.MigrationDirectoryPath(id_), ""));
  TRY(node_.MigrationDirectory(id_));
  return Fault(FaultPoint::kTargetPrepared);
}

Result<> TargetMigration::NoInterference() const {
  const std::lock_guard lock(interference_mutex_);
  return interference_;
}

Result<v1::CreateReplicaReply> TargetMigration::CreateReplica() {
  MIGRATE_ONE_CALL_AT_A_TIME();
  TRY(RequireOpen());
  progress_.EnterPhase(v1::PHASE_PRESYNC);
  if (!replica_) {
    CreateOnTargetOptions options;
    options.migration_id = id_;
    options.runtime_name = node_.config().runtime_name;
    options.bind_mounts = record_.migration().options().bind_mounts() == v1::BIND_MOUNTS_COPY
                              ? BindMountPolicy::kCopy
                              : BindMountPolicy::kExisting;
    options.ours_from_earlier_move = TRY(VolumesOfLineage(node_, record_.lineage().id()));
    options.on_create = OnCreated();
    replica_ = TRY(CreateOnTarget(node_.docker(), *spec_, options));
    record_.set_replica_id(replica_->id);
    progress_.Update(
        [&](v1::Migration& migration) { migration.set_target_container_id(replica_->id); });
    TRY(Save());
    replica_watch_ =
        std::make_unique<ReplicaWatch>(node_.docker_events(), replica_->id, spec_->name,
                                       [this](const Error& what) { OnInterference(what); });
  }
  TRY(Fault(FaultPoint::kTargetCreated));
  v1::CreateReplicaReply reply;
  reply.set_container_id(replica_->id);
  return reply;
}

Result<> TargetMigration::StartReplica(std::uint64_t memory_bytes) {
  const std::string directory = node_.MigrationDirectoryPath(id_);
  RestoreTicket ticket;
  ticket.migration_id = id_;
  ticket.image_dir = directory + "/image";
  ticket.work_dir = directory + "/criu";
  ticket.criu_path = TRY(node_.CriuProgram());
  ticket.runc = node_.config().runc;
  ticket.leave_stopped = true;
  ticket.lock_network = true;
  ticket.network_plan = TRY(ContainerNetworkPlan(node_, record_));
  std::error_code error;
  std::filesystem::create_directories(ticket.work_dir, error);
  TRY(AddUndo(v1::UndoItem::TICKET, replica_->id, ""));
  TRY(WriteTicket(node_.config().runtime_state_dir, replica_->id, ticket));
  const Result<> started = node_.docker().StartContainer(
      replica_->id, limits::kRestoreTimeout + limits::TimeForMemory(memory_bytes));
  if (!started) {
    const std::string reason = RestoreFailure(node_.config().runtime_state_dir, replica_->id);
    return MakeError(
        ErrorCode::kInternal,
        "the replica could not be restored: " + (reason.empty() ? started.error().message : reason),
        "RESTORE_FAILED");
  }
  return {};
}

// A restore that was none (a cold start) must never pass: the tasks must be there, and stopped.
Result<std::uint32_t> TargetMigration::CheckStopped() {
  const ContainerInfo info = TRY(node_.docker().InspectContainer(replica_->id));
  if (!info.running || info.pid <= 0) {
    return MakeError(ErrorCode::kInternal, "the replica ended right after it was restored",
                     "RESTORE_FAILED");
  }
  record_.set_init_pid(static_cast<std::uint32_t>(info.pid));
  const std::vector<int> tasks = TRY(CgroupTasks(TRY(FindFreezerCgroup(info.pid, replica_->id))));
  for (const int task : tasks) {
    const char state = TRY(TaskState(task));
    if (state != 'T' && state != 't') {
      return MakeError(ErrorCode::kInternal,
                       "task " + std::to_string(task) +
                           " of the replica is not stopped: " + "it was started, not restored",
                       "RESTORE_FAILED");
    }
  }
  return static_cast<std::uint32_t>(tasks.size());
}

Result<v1::RestoreReply> TargetMigration::Restore(const v1::RestoreRequest& request) {
  MIGRATE_ONE_CALL_AT_A_TIME();
  TRY(RequireOpen());
  if (!replica_) {
    return MakeError(ErrorCode::kFailedPrecondition, "restore before the container was created");
  }
  TRY(NoInterference());
  replica_watch_->Restoring();
  progress_.EnterPhase(v1::PHASE_RESTORE);
  *record_.mutable_lineage() = request.lineage();
  if (request.has_address_move()) {
    *record_.mutable_address_move() = request.address_move();
  }
  const auto start = Clock::now();
  TRY(Fault(FaultPoint::kTargetRestoring));
  Result<> started =
      PlaceLogs(node_.MigrationDirectoryPath(id_) + "/logs", spec_->source_id, *replica_);
  if (started) {
    started = StartReplica(request.memory_bytes());
  }
  if (!started) {
    TRY(NoInterference());  // says more
    return started.error();
  }
  v1::RestoreReply reply;
  reply.set_docker_start_ms(Milliseconds(Clock::now() - start));
  const auto tasks = CheckStopped();
  TRY(NoInterference());
  reply.set_tasks(TRY(Result(tasks)));
  if (record_.has_address_move()) {
    TRY(AddUndo(v1::UndoItem::ADDRESS_ROUTE, record_.address_move().id(), ""));
    TRY(PrepareAddress(record_.address_move()));
  }
  TRY(Fault(FaultPoint::kTargetRestored));
  replica_watch_->Done();
  record_.set_decision(v1::DECISION_PREPARED);
  TRY(Save());
  TRY(Fault(FaultPoint::kTargetPromised));
  return reply;
}

Result<v1::CommitReply> TargetMigration::Commit(const v1::CommitRequest& request) {
  MIGRATE_ONE_CALL_AT_A_TIME();
  *record_.mutable_relays_to_lead() = request.relays_to_lead();
  if (ended_ && record_.decision() == v1::DECISION_ACTIVATED) {  // settled already
    TRY(OweRelays(node_, record_.lineage().id(),
                  {request.relays_to_lead().begin(), request.relays_to_lead().end()}));
  }
  return CommitLocked();
}

Result<v1::CommitReply> TargetMigration::CommitLocked() {
  v1::CommitReply reply;
  reply.set_container_id(record_.replica_id());
  if (record_.decision() == v1::DECISION_ACTIVATED) {
    return reply;  // the answer to the first call was lost
  }
  TRY(RequireOpen());
  if (record_.decision() != v1::DECISION_PREPARED && record_.decision() != v1::DECISION_COMMITTED) {
    return MakeError(ErrorCode::kFailedPrecondition, "commit before the replica was restored",
                     "NOT_PREPARED");
  }
  progress_.EnterPhase(v1::PHASE_CUTOVER);
  const auto start = Clock::now();
  record_.set_decision(v1::DECISION_COMMITTED);
  TRY(Save());
  TRY(Fault(FaultPoint::kTargetCommitted));
  if (Result<> active = Activate(); !active) {
    TRY(GiveUpIfLost(active.error()));
    return active.error();
  }
  TRY(Fault(FaultPoint::kTargetResumed));
  record_.set_decision(v1::DECISION_ACTIVATED);
  progress_.EnterPhase(v1::PHASE_CLEANUP);
  TRY(Save());
  settle_ = std::jthread([this] { SettleDown(); });
  TRY(Fault(FaultPoint::kTargetActivated));
  reply.set_activate_ms(Milliseconds(Clock::now() - start));
  reply.set_runs_for_ms(Milliseconds(Clock::now() - resumed_));
  return reply;
}

Result<> TargetMigration::Activate() {
  const auto pid = static_cast<int>(record_.init_pid());
  const OwnedFd netns = TRY(OpenNetns(pid));
  // The address first: the relay's own one is routed by way of it, which must not lead away any
  // more.
  if (record_.has_address_move()) {
    TRY(ActivateAddress(record_.address_move()));
  }
  TRY(ConnectContainerNetwork(node_, record_));
  TRY(Fault(FaultPoint::kTargetConnected));
  if (const Result<> known = Introduce6(TRY(OpenNetns(getpid())), netns); !known) {
    spdlog::warn("container {}: neighbours of IPv6: {}", record_.replica_id(),
                 known.error().message);
  }
  TRY(UnlockNetns(netns));
  TRY(AnnounceOwnAddresses(netns));
  if (record_.has_address_move()) {
    TRY(AnnounceAddress(record_.address_move(), netns));
  }
  const auto cgroup = TRY(FindFreezerCgroup(pid, record_.replica_id()));
  const std::vector<int> processes = TRY(CgroupProcesses(cgroup));
  TRY(RearmExpiredTimers(processes));
  TRY(PushUnsent(processes));
  may_have_run_ = true;
  // Processes that a signal had stopped before the checkpoint stay stopped.
  TRY(ResumeReplica(cgroup,
                    TRY(ReadStoppedProcesses(node_.MigrationDirectoryPath(id_) + "/image"))));
  resumed_ = Clock::now();
  node_.holds().Release(id_);  // of clients that knew the container here before
  return {};
}

// After the client has its answer: what must be done, but not at once.
void TargetMigration::SettleDown() {
  const std::lock_guard lock(mutex_);
  const CallScope call_scope(calls_, last_contact_ms_);
  node_.ship().ForgetMigration(id_);
  receivers_.clear();
  if (!spec_ && !record_.spec().empty()) {
    if (auto spec = SpecFromJson(record_.spec())) {
      spec_ = std::move(*spec);
    }
  }
  if (spec_) {
    if (auto updated =
            node_.docker().UpdateRestartPolicy(record_.replica_id(), spec_->final_restart_policy);
        !updated) {
      spdlog::error("migration {}: restart policy: {}", id_, updated.error().message);
    }
  }
  if (auto settled = SettleLineage(node_, record_); !settled) {
    spdlog::error("migration {}: {}", id_, settled.error().message);
  }
  (void)RemoveTicket(node_.config().runtime_state_dir, record_.replica_id());
  std::error_code error;
  std::filesystem::remove_all(node_.MigrationDirectoryPath(id_), error);
  record_.clear_undo();
  progress_.Update([](v1::Migration& migration) {
    migration.set_phase(v1::PHASE_DONE);
    migration.set_outcome(v1::OUTCOME_MOVED);
  });
  if (auto saved = Save(); !saved) {
    spdlog::error("migration {}: {}", id_, saved.error().message);
  }
  ended_ = true;
}

// What is being received writes to the trees and the record that an abort removes.
bool TargetMigration::WaitForReceivers() const {
  const auto until = Clock::now() + kCallQueue;
  while (receiving_ > 0 && Clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return receiving_ == 0;
}

Result<v1::PeerAbortReply> TargetMigration::Abort(const Error& why) {
  const CallScope call_scope(calls_, last_contact_ms_);
  node_.ship().ForgetMigration(id_);  // ends what is being received
  if (!WaitForReceivers()) {
    return MakeError(ErrorCode::kUnavailable, "the target is still busy; it will clean up itself");
  }
  std::unique_lock lock(mutex_, kCallQueue);
  if (!lock.owns_lock()) {
    return MakeError(ErrorCode::kUnavailable, "the target is still busy; it will clean up itself");
  }
  return AbortLocked(why);
}

Result<v1::PeerAbortReply> TargetMigration::AbortLocked(const Error& why) {
  v1::PeerAbortReply reply;
  if (record_.decision() == v1::DECISION_COMMITTED ||
      record_.decision() == v1::DECISION_ACTIVATED) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "migration " + id_ + " is committed: the container runs at the target",
                     "PAST_COMMIT_POINT");
  }
  if (ended_) {
    return reply;
  }
  progress_.EnterPhase(v1::PHASE_UNDO);
  record_.set_decision(v1::DECISION_ABORTED);
  if (auto saved = Save(); !saved) {
    spdlog::error("migration {}: {}", id_, saved.error().message);
  }
  receivers_.clear();
  node_.holds().Release(id_);
  for (std::string& text : UndoAll()) {
    reply.add_undone(std::move(text));
  }
  if (!record_.replica_id().empty()) {
    // Again: a restore that a dead daemon had begun may have left its result until the container
    // was removed.
    (void)RemoveTicket(node_.config().runtime_state_dir, record_.replica_id());
  }
  progress_.Update([&](v1::Migration& migration) {
    migration.set_phase(v1::PHASE_DONE);
    migration.set_outcome(v1::OUTCOME_ROLLED_BACK);
    migration.mutable_failure()->set_message(why.message);
    migration.mutable_failure()->set_code(std::string(ErrorCodeName(why.code)));
  });
  if (auto saved = Save(); !saved) {
    spdlog::error("migration {}: {}", id_, saved.error().message);
  }
  ended_ = true;
  spdlog::info("migration {}: undone: {}", id_, why.message);
  return reply;
}

std::vector<std::string> TargetMigration::UndoAll() {
  std::vector<std::string> undone;
  v1::MigrationRecord left = record_;
  left.clear_undo();
  for (int i = record_.undo_size() - 1; i >= 0; --i) {
    auto text = UndoOnHost(node_, record_.undo(i));
    if (!text) {
      spdlog::error("migration {}: undo: {}", id_, text.error().message);
      *left.add_undo() = record_.undo(i);  // for `migrate gc`
    } else if (!text->empty()) {
      undone.push_back(std::move(*text));
    }
  }
  *record_.mutable_undo() = left.undo();
  return undone;
}

void TargetMigration::CheckLease() {
  if (calls_ > 0 || NowMs() - last_contact_ms_ <
                        std::chrono::duration_cast<std::chrono::milliseconds>(kLease).count()) {
    return;
  }
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || ended_) {
    return;
  }
  if (record_.decision() == v1::DECISION_UNDECIDED) {
    (void)AbortLocked(
        MakeError(ErrorCode::kUnavailable, "the source has been silent for too long"));
    node_.ship().ForgetMigration(id_);
  } else {
    AskSource();
  }
}

}  // namespace migrate
