// The part of TargetMigration that deals with a source whose word is missing, and with a replica
// that is lost before it ever ran.
//
// At the target a migration is in doubt when the replica is restored and stopped, and the source
// does not say what it has decided. It goes on asking; the operator may decide instead.
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "migrated/relay_leads.h"
#include "migrated/resolve.h"
#include "migrated/target_migration.h"

namespace migrate {

bool ReplicaIsLost(Node& node, const v1::MigrationRecord& record) {
  const auto info = node.docker().InspectContainer(record.replica_id());
  if (!info) {
    return info.error().code == ErrorCode::kNotFound;
  }
  return !info->running || info->pid != static_cast<int>(record.init_pid());
}

void TargetMigration::Recover() {
  const std::lock_guard lock(mutex_);
  if (record_.decision() == v1::DECISION_ABORTED || record_.decision() == v1::DECISION_UNDECIDED) {
    (void)AbortLocked(MakeError(ErrorCode::kAborted, "the target's daemon was restarted"));
  } else if (record_.decision() == v1::DECISION_ACTIVATED) {
    settle_ = std::jthread([this] { SettleDown(); });
  } else {
    last_contact_ms_ = 0;  // prepared or committed: the next lease check asks the source
  }
}

// Prepared, and nobody tells us what was decided. Without an answer nothing is done: the replica
// stays stopped, so there are never two copies.
void TargetMigration::AskSource() {
  Touch();
  const bool told =
      record_.decision() == v1::DECISION_COMMITTED || record_.decision() == v1::DECISION_ACTIVATED;
  v1::GetDecisionRequest request;
  request.set_migration_id(id_);
  auto peer = node_.ConnectPeer(record_.source_endpoint());
  auto reply = peer ? (*peer)->GetDecision(request, {.timeout = limits::kPeerConnectTimeout})
                    : Result<v1::GetDecisionReply>(peer.error());
  if (reply && reply->decision() == v1::GetDecisionReply::ABORTED) {
    // Also of what was committed: its operator has taken the decision back.
    (void)DropReplica(MakeError(ErrorCode::kAborted, "the source gave the migration up"));
  } else if (told || (reply && reply->decision() == v1::GetDecisionReply::COMMITTED)) {
    if (auto committed = CommitLocked(); !committed) {
      spdlog::error("migration {}: {}", id_, committed.error().message);
    }
  } else {
    SayInDoubt(reply ? "has not decided" : reply.error().message);
  }
}

void TargetMigration::SayInDoubt(const std::string& source_says) {
  spdlog::warn("migration {}: prepared, and the source {} does not say what it has decided: {}",
               id_, record_.source_endpoint(), source_says);
  progress_.Update([&](v1::Migration& migration) {
    migration.set_outcome(v1::OUTCOME_IN_DOUBT);
    v1::Doubt* doubt = migration.mutable_doubt();
    if (!doubt->has_since()) {
      *doubt->mutable_since() = google::protobuf::util::TimeUtil::GetCurrentTime();
    }
    doubt->set_here("the replica is complete and stopped; the decision is with " +
                    record_.source_endpoint());
    doubt->set_peer(source_says);
    doubt->clear_commands();
    doubt->add_commands("migrate resolve " + id_ + " --run-here");
    doubt->add_commands("migrate resolve " + id_ + " --end-here");
  });
  if (auto saved = Save(); !saved) {
    spdlog::error("migration {}: {}", id_, saved.error().message);
  }
}

// A replica that has never run and never will: its source has it all and may go on, as soon as this
// side has written down that it gives up.
Result<> TargetMigration::GiveUpIfLost(const Error& why) {
  if (may_have_run_ || !ReplicaIsLost(node_, record_)) {
    return {};
  }
  const Error lost =
      MakeError(ErrorCode::kFailedPrecondition,
                "the replica ended before it went live: " + why.message, "REPLICA_LOST");
  TRY(DropReplica(lost));
  return lost;
}

Result<v1::PeerAbortReply> TargetMigration::DropReplica(const Error& why) {
  if (record_.decision() == v1::DECISION_COMMITTED) {
    record_.set_decision(v1::DECISION_PREPARED);  // AbortLocked writes down what it becomes
  }
  return AbortLocked(why);
}

Result<> TargetMigration::Resolve(v1::Resolution resolution) {
  const std::lock_guard lock(mutex_);
  const bool told = record_.decision() == v1::DECISION_COMMITTED;
  if (ended_ || (record_.decision() != v1::DECISION_PREPARED && !told)) {
    return NotInDoubt(progress_.Snapshot());
  }
  const bool run = resolution == v1::RESOLUTION_RUN_HERE;
  const bool lost = ReplicaIsLost(node_, record_);
  if (run && lost) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "the replica has ended and cannot run any more; --end-here removes what is "
                     "left of it",
                     "REPLICA_LOST");
  }
  const std::string text = run ? "resolved by the operator: the container runs here"
                               : "resolved by the operator: the replica here was removed";
  spdlog::warn("migration {}: {}", id_, text);
  record_.set_resolution(resolution);  // in the same write as the decision
  progress_.Update([&](v1::Migration& migration) { migration.set_resolution(text); });
  if (!run) {
    TRY(DropReplica(MakeError(ErrorCode::kCancelled, text, "RESOLVED")));
    return {};
  }
  TRY(CommitLocked());
  for (const std::string& owed : LeadRelaysHere(node_, record_)) {
    record_.add_relays_to_lead(owed);  // SettleDown() comes after this call
  }
  return {};
}

}  // namespace migrate
