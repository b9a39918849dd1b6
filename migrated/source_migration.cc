#include "migrated/source_migration.h"

#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "base/stop_wait.h"
#include "migrated/relays.h"
#include "migrated/source_steps.h"

namespace migrate {
namespace {

std::chrono::milliseconds DeadlineOf(const v1::MigrationOptions& options) {
  if (options.deadline_ms() > 0) {
    return std::chrono::milliseconds(options.deadline_ms());
  }
  return limits::kDefaultDeadline;
}

MigrationState StateOf(const v1::MigrationRecord& record) {
  MigrationState state;
  state.committed = record.decision() == v1::DECISION_COMMITTED;
  if (state.committed) {
    state.step = Step::kHandOff;
    if (record.migration().outcome() == v1::OUTCOME_IN_DOUBT) {
      state.outcome = v1::OUTCOME_IN_DOUBT;
      state.hand_off_attempts = kHandOffAttemptsBeforeDoubt;
    }
  }
  return state;
}

}  // namespace

SourceMigration::SourceMigration(Node& node, v1::MigrationRecord record)
    : node_(node),
      id_(record.migration().id()),
      record_(std::move(record)),
      decision_(record_.decision()),
      progress_(record_.migration()),
      deadline_(std::chrono::steady_clock::now() + DeadlineOf(record_.migration().options())) {}

SourceMigration::~SourceMigration() {
  shutdown_.request_stop();
  abort_requested_ = true;
  {
    const std::lock_guard lock(stop_mutex_);
    step_stop_.request_stop();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void SourceMigration::Start(bool restarted) {
  thread_ = std::jthread([this, restarted] { Run(restarted); });
}

Result<> SourceMigration::RequestAbort() {
  if (ended_) {
    return MakeError(ErrorCode::kFailedPrecondition, "migration " + id_ + " has ended",
                     "MIGRATION_ENDED");
  }
  const std::lock_guard lock(stop_mutex_);
  if (!abortable_) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "migration " + id_ + " is past its commit point: the container goes on at " +
                         progress_.Snapshot().peer(),
                     "PAST_COMMIT_POINT");
  }
  abort_requested_ = true;
  step_stop_.request_stop();
  return {};
}

bool SourceMigration::DeadlinePassed() const {
  return std::chrono::steady_clock::now() >= deadline_;
}

Result<> SourceMigration::Save(const MigrationState& state) {
  if (state.step == Step::kUndo) {
    record_.set_decision(v1::DECISION_ABORTED);
  } else if (state.step == Step::kRestore) {
    record_.set_target_may_be_prepared(true);
  }
  decision_ = record_.decision();
  *record_.mutable_migration() = progress_.Snapshot();
  return node_.journal().Put(record_);
}

MigrationEvent SourceMigration::Perform(SourceSteps& steps, const MigrationState& state) {
  const StepRow& row = RowOf(state.step);
  std::stop_token stop;
  {
    const std::lock_guard lock(stop_mutex_);
    step_stop_ = std::stop_source();
    stop = step_stop_.get_token();
  }
  const bool before_commit = row.abortable || state.step == Step::kCommit;
  watch_->Enter(row);
  steps.LeavePaused(watch_->IsPaused());
  if (auto interference = watch_->Happened(); interference && before_commit) {
    return {EventKind::kFailed, std::move(interference)};
  }
  if (row.abortable && abort_requested_) {
    return {EventKind::kAbortRequested};
  }
  if (row.abortable && DeadlinePassed()) {
    return {EventKind::kDeadline};
  }
  // The deadline interrupts a step just as the operator does.
  std::jthread deadline([&](const std::stop_token& done) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline_ - std::chrono::steady_clock::now());
    if (row.abortable && !WaitForStop(done, left)) {
      const std::lock_guard lock(stop_mutex_);
      step_stop_.request_stop();
    }
  });
  const Result<> result = steps.Perform(state.step, stop);
  deadline.request_stop();
  if (state.step == Step::kFence) {
    if (auto down = watch_->KeepDown(); !down) {
      spdlog::error("migration {}: {}", id_, down.error().message);
    }
  }
  if (result) {
    // An abort that was accepted counts, also if the step did not notice it; from here on none is
    // accepted if the next step is the commit.
    const std::lock_guard lock(stop_mutex_);
    if (row.abortable && abort_requested_) {
      return {EventKind::kAbortRequested};
    }
    abortable_ = RowOf(row.next).abortable;
    return {};
  }
  if (auto interference = watch_->Explain(); interference && before_commit) {
    return {EventKind::kFailed, std::move(interference)};
  }
  if (row.abortable && stop.stop_requested()) {
    return {abort_requested_ ? EventKind::kAbortRequested : EventKind::kDeadline};
  }
  spdlog::warn("migration {}: {}: {}", id_, row.name, result.error().message);
  last_failure_ = result.error();
  return {EventKind::kFailed, result.error()};
}

void SourceMigration::Run(bool restarted) {
  MigrationState state = StateOf(record_);
  SourceSteps steps(node_, record_, progress_, [&] {
    *record_.mutable_migration() = progress_.Snapshot();
    return node_.journal().Put(record_);
  });
  watch_ = std::make_unique<ContainerWatch>(node_, record_.migration().container_id(),
                                            record_.migration().container_name(), [this] {
                                              const std::lock_guard lock(stop_mutex_);
                                              step_stop_.request_stop();
                                            });
  steps.SetLastCheck([this] { return watch_->CheckBeforeCommit(); });
  if (restarted) {
    state = !state.committed && RunsAtTarget() ? FoundLive(state)
                                               : Advance(state, {EventKind::kRestarted});
  }
  while (state.step != Step::kEnded) {
    abortable_ = RowOf(state.step).abortable;
    progress_.EnterPhase(RowOf(state.step).phase);
    // Past the commit point the decision is on disk already; before it, a journal that cannot be
    // written is a reason to go back.
    if (Result<> saved = Save(state); !saved && !state.committed) {
      state = Advance(state, {EventKind::kFailed, saved.error()});
      continue;
    }
    const v1::Phase phase = RowOf(state.step).phase;
    const int attempts = state.hand_off_attempts;
    if (state.step == Step::kUndo && record_.resolution() == v1::RESOLUTION_RUN_HERE) {
      TakeBackOwnRelay(node_, record_);  // the hand-off had begun
    }
    const bool had_failed = state.failure.has_value();
    last_failure_.reset();
    const MigrationEvent event = Perform(steps, state);
    if (state.step == Step::kUndo && last_failure_ &&
        last_failure_->reason == "PAST_COMMIT_POINT") {
      state = FoundLive(state);
      continue;
    }
    state = Advance(state, event);
    if (state.failure && !had_failed) {
      progress_.Update([&](v1::Migration& migration) {
        v1::MigrationFailure* failure = migration.mutable_failure();
        failure->set_code(std::string(ErrorCodeName(state.failure->code)));
        failure->set_reason(state.failure->reason);
        failure->set_message(state.failure->message);
        failure->set_phase(phase);
      });
    }
    if (state.hand_off_attempts > attempts && !WaitInDoubt(state)) {
      return;  // the journal has it; the next daemon goes on
    }
  }
  Finish(state);
}

void SourceMigration::Finish(const MigrationState& state) {
  progress_.Update([&](v1::Migration& migration) {
    migration.set_phase(v1::PHASE_DONE);
    migration.set_outcome(state.outcome);
    if (state.outcome == v1::OUTCOME_MOVED && migration.total_time_ms() > 0) {
      migration.set_mbps(static_cast<double>(migration.transferred_bytes()) * 8 / 1000 /
                         static_cast<double>(migration.total_time_ms()));
    }
  });
  *record_.mutable_migration() = progress_.Snapshot();
  if (state.outcome == v1::OUTCOME_MOVED) {
    record_.set_decision(v1::DECISION_ACTIVATED);
  }
  decision_ = record_.decision();
  if (auto saved = node_.journal().Put(record_); !saved) {
    spdlog::error("migration {}: {}", id_, saved.error().message);
  }
  ended_ = true;
  spdlog::info("migration {} of {}: {}", id_, record_.migration().container_name(),
               v1::Outcome_Name(state.outcome));
}

}  // namespace migrate
