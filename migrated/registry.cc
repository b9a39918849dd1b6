#include "migrated/registry.h"

#include <spdlog/spdlog.h>

#include <thread>

#include "base/ids.h"
#include "base/limits.h"
#include "migrated/resolve.h"

namespace migrate {
namespace {

constexpr std::size_t kEndedMigrationsKept = 64;  // of each role, in memory
constexpr auto kAbortWait = std::chrono::seconds(60);
constexpr auto kPeerAnswers = std::chrono::seconds(5);  // before it counts as gone
// Ended migrations in the journal: at most so many, and not for longer.
constexpr std::size_t kEndedMigrationsInJournal = 200;
constexpr auto kEndedMigrationsAge = std::chrono::hours(30 * 24);

Error UnknownMigration(const std::string& id) {
  return MakeError(ErrorCode::kNotFound,
                   "no migration " + id + " on this host; `migrate list` shows all",
                   "UNKNOWN_MIGRATION");
}

v1::GetStandingReply::Standing StandingOfRecord(const v1::MigrationRecord& record) {
  switch (record.decision()) {
    case v1::DECISION_PREPARED:
      return v1::GetStandingReply::PREPARED;
    case v1::DECISION_COMMITTED:
      return v1::GetStandingReply::DECIDED;
    case v1::DECISION_ACTIVATED:
      return v1::GetStandingReply::LIVE;
    case v1::DECISION_ABORTED:
      return v1::GetStandingReply::GIVEN_UP;
    default:
      return v1::GetStandingReply::OPEN;
  }
}

}  // namespace

Result<> Registry::Recover() {
  const std::lock_guard lock(mutex_);
  if (auto erased = node_.journal().EraseEnded(kEndedMigrationsInJournal, kEndedMigrationsAge)) {
    spdlog::debug("{} migrations of long ago forgotten", *erased);
  } else {
    spdlog::warn("{}", erased.error().message);
  }
  for (v1::MigrationRecord& record : TRY(node_.journal().Migrations())) {
    const std::string id = record.migration().id();
    if (HasEnded(record.migration())) {
      continue;
    }
    spdlog::info("migration {} of {} was under way: going on with it", id,
                 record.migration().container_name());
    if (record.migration().role() == v1::ROLE_SOURCE) {
      auto source = std::make_shared<SourceMigration>(node_, std::move(record));
      source->Start(true);
      sources_[id] = std::move(source);
    } else {
      auto target = std::make_shared<TargetMigration>(node_, std::move(record));
      target->Recover();
      targets_[id] = std::move(target);
    }
  }
  return {};
}

Result<> Registry::CheckIdle(const std::string& container_id, const std::string& name) {
  for (const auto& [id, source] : sources_) {
    if (!source->ended() && source->progress().Snapshot().container_id() == container_id) {
      return MakeError(ErrorCode::kAborted,
                       name + " is being migrated already (" + id +
                           "); wait for it, or `migrate abort " + id + "`",
                       "ALREADY_MIGRATING");
    }
  }
  if (recorded_.contains(container_id)) {
    return MakeError(ErrorCode::kAborted,
                     name + " is being recorded; wait for it, or end `migrate record` with Ctrl-C",
                     "ALREADY_RECORDING");
  }
  return {};
}

Result<> Registry::BeginRecording(const std::string& container_id, const std::string& name) {
  const std::lock_guard lock(mutex_);
  TRY(CheckIdle(container_id, name));
  recorded_.insert(container_id);
  return {};
}

void Registry::EndRecording(const std::string& container_id) {
  const std::lock_guard lock(mutex_);
  recorded_.erase(container_id);
}

Result<v1::Migration> Registry::Start(const v1::StartMigrationRequest& request) {
  if (request.container().empty() || request.target().empty()) {
    return MakeError(ErrorCode::kInvalidArgument, "container and target must be given");
  }
  const HostPort target = TRY(ParseHostPort(request.target(), kDefaultPeerPort));
  // The engine resolves names and prefixes; what is unknown ends here.
  const ContainerInfo container = TRY(node_.docker().InspectContainer(request.container()));

  if (!request.request_id().empty()) {
    for (v1::Migration& earlier : TRY(List(/*active_only=*/false))) {
      if (earlier.request_id() == request.request_id()) {
        return std::move(earlier);
      }
    }
  }
  const std::lock_guard lock(mutex_);
  Prune();
  TRY(CheckIdle(container.id, container.name));
  const auto active = std::count_if(sources_.begin(), sources_.end(),
                                    [](const auto& source) { return !source.second->ended(); });
  if (active >= limits::kMaxActiveMigrations) {
    return MakeError(ErrorCode::kResourceExhausted,
                     std::to_string(active) + " migrations are under way, the limit; try later",
                     "TOO_MANY_MIGRATIONS");
  }
  v1::MigrationRecord record;
  v1::Migration* migration = record.mutable_migration();
  migration->set_id(NewMigrationId());
  migration->set_request_id(request.request_id());
  migration->set_role(v1::ROLE_SOURCE);
  migration->set_container_id(container.id);
  migration->set_container_name(container.name);
  migration->set_peer(target.ToString());
  *migration->mutable_options() = request.options();
  migration->set_phase(v1::PHASE_PREFLIGHT);
  migration->set_rung("stop");
  TRY(node_.journal().Put(record));
  auto source = std::make_shared<SourceMigration>(node_, std::move(record));
  sources_[source->id()] = source;
  source->Start(false);
  spdlog::info("migration {} of {} to {} starts", source->id(), container.name, target.ToString());
  return source->progress().Snapshot();
}

std::shared_ptr<SourceMigration> Registry::FindSource(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = sources_.find(id);
  return found == sources_.end() ? nullptr : found->second;
}

std::shared_ptr<TargetMigration> Registry::FindTarget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = targets_.find(id);
  return found == targets_.end() ? nullptr : found->second;
}

std::shared_ptr<Progress> Registry::FindProgress(const std::string& id) {
  // Shares the ownership of the migration.
  if (auto source = FindSource(id)) {
    Progress& progress = source->progress();
    return {std::move(source), &progress};
  }
  if (auto target = FindTarget(id)) {
    Progress& progress = target->progress();
    return {std::move(target), &progress};
  }
  return nullptr;
}

void Registry::Prune() {
  const auto prune = [](auto& migrations) {
    for (auto it = migrations.begin();
         it != migrations.end() && migrations.size() > kEndedMigrationsKept;) {
      it = it->second->ended() ? migrations.erase(it) : std::next(it);
    }
  };
  prune(sources_);
  prune(targets_);
}

bool Registry::IsActive(const std::string& id) {
  const auto source = FindSource(id);
  const auto target = FindTarget(id);
  return (source && !source->ended()) || (target && !target->ended());
}

Result<v1::Migration> Registry::Get(const std::string& id) {
  if (const auto progress = FindProgress(id)) {
    return progress->Snapshot();
  }
  for (const v1::MigrationRecord& record : TRY(node_.journal().Migrations())) {
    if (record.migration().id() == id) {
      return record.migration();
    }
  }
  return UnknownMigration(id);
}

Result<std::vector<v1::Migration>> Registry::List(bool active_only) {
  std::vector<v1::Migration> list;
  for (const v1::MigrationRecord& record : TRY(node_.journal().Migrations())) {
    const auto progress = FindProgress(record.migration().id());
    v1::Migration migration = progress != nullptr ? progress->Snapshot() : record.migration();
    if (!active_only || !HasEnded(migration)) {
      list.push_back(std::move(migration));
    }
  }
  return list;
}

Result<v1::Migration> Registry::Abort(const std::string& id) {
  const auto source = FindSource(id);
  if (!source) {
    if (const auto target = FindTarget(id)) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       "migration " + id + " comes from " + target->progress().Snapshot().peer() +
                           ": abort it there",
                       "NOT_THE_SOURCE");
    }
    return UnknownMigration(id);
  }
  TRY(source->RequestAbort());
  const auto until = std::chrono::steady_clock::now() + kAbortWait;
  while (!source->ended() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  v1::Migration migration = source->progress().Snapshot();
  if (!source->ended() || migration.outcome() == v1::OUTCOME_MOVED) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "migration " + id + " passed its commit point before the abort took effect",
                     "PAST_COMMIT_POINT");
  }
  return migration;
}

std::optional<v1::GetStandingReply> Registry::StandingOfPeer(const v1::Migration& migration) {
  v1::GetStandingRequest request;
  request.set_migration_id(migration.id());
  auto peer = node_.ConnectPeer(migration.peer());
  auto reply = peer ? (*peer)->GetStanding(request, {.timeout = kPeerAnswers})
                    : Result<v1::GetStandingReply>(peer.error());
  return reply ? std::optional(std::move(*reply)) : std::nullopt;
}

Result<v1::Migration> Registry::Resolve(const v1::ResolveMigrationRequest& request) {
  const auto source = FindSource(request.id());
  const auto target = FindTarget(request.id());
  if (!source && !target) {
    return NotInDoubt(TRY(Get(request.id())));
  }
  Progress& progress = source ? source->progress() : target->progress();
  const v1::Migration migration = progress.Snapshot();
  const bool in_doubt = migration.outcome() == v1::OUTCOME_IN_DOUBT;
  TRY(MayResolve(migration, request.verdict(), in_doubt ? StandingOfPeer(migration) : std::nullopt,
                 request.peer_is_gone()));
  const v1::Resolution resolution = request.verdict() == v1::ResolveMigrationRequest::RUN_HERE
                                        ? v1::RESOLUTION_RUN_HERE
                                        : v1::RESOLUTION_END_HERE;
  TRY(source ? source->Resolve(resolution) : target->Resolve(resolution));
  const auto until = std::chrono::steady_clock::now() + kAbortWait;
  while (!(source ? source->ended() : target->ended()) &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return progress.Snapshot();
}

Result<std::shared_ptr<TargetMigration>> Registry::OpenTarget(const v1::PrepareRequest& request) {
  if (!IsMigrationId(request.migration_id())) {
    return MakeError(ErrorCode::kInvalidArgument, "malformed migration id");
  }
  const std::lock_guard lock(mutex_);
  Prune();
  const auto found = targets_.find(request.migration_id());
  if (found != targets_.end()) {
    return found->second;
  }
  int active = 0;
  for (const auto& [id, target] : targets_) {
    active += target->ended() ? 0 : 1;
  }
  if (active >= limits::kMaxActiveMigrations) {
    return MakeError(ErrorCode::kResourceExhausted,
                     "the target takes no more than " + std::to_string(active) +
                         " migrations at once; try later",
                     "TOO_MANY_MIGRATIONS");
  }
  v1::MigrationRecord record;
  v1::Migration* migration = record.mutable_migration();
  migration->set_id(request.migration_id());
  migration->set_role(v1::ROLE_TARGET);
  migration->set_phase(v1::PHASE_PREFLIGHT);
  migration->set_rung("stop");
  migration->set_peer(request.source().peer_endpoint());
  *migration->mutable_options() = request.options();
  record.set_source_endpoint(request.source().peer_endpoint());
  auto target = std::make_shared<TargetMigration>(node_, std::move(record));
  targets_[target->id()] = target;
  return target;
}

void Registry::ForgetTarget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  targets_.erase(id);
}

v1::GetDecisionReply::Decision Registry::DecisionOf(const std::string& id) {
  // Each is in the journal before its target hears of it: one that is unknown was lost with an
  // older journal, and nobody can say what had been decided.
  v1::Decision decision = v1::DECISION_UNDECIDED;
  if (const auto source = FindSource(id)) {
    decision = source->decision();
  } else if (auto records = node_.journal().Migrations()) {
    for (const v1::MigrationRecord& record : *records) {
      if (record.migration().id() == id && record.migration().role() == v1::ROLE_SOURCE) {
        decision = record.decision();
      }
    }
  } else {
    return v1::GetDecisionReply::UNDECIDED;
  }
  switch (decision) {
    case v1::DECISION_COMMITTED:
    case v1::DECISION_ACTIVATED:
      return v1::GetDecisionReply::COMMITTED;
    case v1::DECISION_ABORTED:
      return v1::GetDecisionReply::ABORTED;
    default:
      return v1::GetDecisionReply::UNDECIDED;
  }
}

Result<v1::GetStandingReply> Registry::StandingOf(const std::string& id) {
  v1::GetStandingReply reply;
  reply.set_standing(v1::GetStandingReply::UNKNOWN_HERE);
  for (const v1::MigrationRecord& record : TRY(node_.journal().Migrations())) {
    if (record.migration().id() == id) {
      const bool waits = record.migration().role() == v1::ROLE_TARGET &&
                         (record.decision() == v1::DECISION_PREPARED ||
                          record.decision() == v1::DECISION_COMMITTED);
      reply.set_standing(waits && ReplicaIsLost(node_, record) ? v1::GetStandingReply::REPLICA_LOST
                                                               : StandingOfRecord(record));
      reply.set_by_operator(record.resolution() != v1::RESOLUTION_NONE);
    }
  }
  return reply;
}

std::optional<std::string> Registry::ActivatedReplica(const std::string& id) {
  if (FindTarget(id)) {
    return std::nullopt;  // it answers for itself
  }
  const auto records = node_.journal().Migrations();
  if (!records) {
    return std::nullopt;
  }
  for (const v1::MigrationRecord& record : *records) {
    if (record.migration().id() == id && record.migration().role() == v1::ROLE_TARGET &&
        record.decision() == v1::DECISION_ACTIVATED) {
      return record.replica_id();
    }
  }
  return std::nullopt;
}

void Registry::CheckLeases() {
  std::vector<std::shared_ptr<TargetMigration>> targets;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, target] : targets_) {
      targets.push_back(target);
    }
  }
  for (const auto& target : targets) {
    if (!target->ended()) {
      target->CheckLease();
    }
  }
}

}  // namespace migrate
