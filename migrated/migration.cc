#include "migrated/migration.h"

#include "base/check.h"

namespace migrate {
namespace {

v1::Outcome OutcomeOf(const MigrationState& state) {
  if (!state.failure) {
    return v1::OUTCOME_MOVED;
  }
  switch (state.failure->code) {
    case ErrorCode::kCancelled:
      return v1::OUTCOME_ABORTED;
    case ErrorCode::kDeadlineExceeded:
      return state.failure->reason == "DEADLINE" ? v1::OUTCOME_BUDGET_EXCEEDED
                                                 : v1::OUTCOME_ROLLED_BACK;
    default:
      return state.touched ? v1::OUTCOME_ROLLED_BACK : v1::OUTCOME_REFUSED;
  }
}

MigrationState Enter(MigrationState state, Step step) {
  state.step = step;
  if (step == Step::kEnded) {
    state.outcome = OutcomeOf(state);
  }
  // The replica's reservation at the target is the first thing that preflight's end changes.
  if (step != Step::kPreflight && step != Step::kUndo && step != Step::kEnded) {
    state.touched = true;
  }
  return state;
}

MigrationState Fail(MigrationState state, Error error) {
  if (!state.failure && !state.committed) {
    state.failure = std::move(error);
  }
  if (state.step == Step::kHandOff) {
    // Past the commit point there is no way back: go on trying, and say so after a while.
    if (++state.hand_off_attempts >= kHandOffAttemptsBeforeDoubt) {
      state.outcome = v1::OUTCOME_IN_DOUBT;
    }
    return state;
  }
  return Enter(std::move(state), RowOf(state.step).on_failure);
}

MigrationState Restart(MigrationState state) {
  if (state.committed) {
    // Both are idempotent, so it does not matter how far the dead daemon came.
    return Enter(std::move(state), Step::kHandOff);
  }
  if (!state.failure) {
    state.failure = MakeError(ErrorCode::kInternal,
                              "the daemon ended in the middle of the migration; the container "
                              "goes on at the source",
                              "DAEMON_RESTARTED");
  }
  state.touched = true;
  return Enter(std::move(state), Step::kUndo);
}

// The word of the operator, or of the target, where the hand-off does not come to an end.
MigrationState Resolve(MigrationState state, const MigrationEvent& event) {
  if (event.kind == EventKind::kFoundLive) {
    CHECK(!state.committed);
    state.committed = true;
    state.failure.reset();
    return Enter(std::move(state), Step::kHandOff);
  }
  CHECK(state.committed && state.step == Step::kHandOff);
  state.outcome = v1::OUTCOME_UNSPECIFIED;
  if (event.kind == EventKind::kDeclaredEnded) {
    return Enter(std::move(state), Step::kFence);
  }
  CHECK(event.error.has_value());
  state.committed = false;
  state.failure = event.error;
  return Enter(std::move(state), Step::kUndo);
}

}  // namespace

MigrationState Advance(MigrationState state, const MigrationEvent& event) {
  CHECK(state.step != Step::kEnded);
  const StepRow& row = RowOf(state.step);
  switch (event.kind) {
    case EventKind::kDone:
      if (state.step == Step::kCommit) {
        state.committed = true;
      }
      return Enter(std::move(state), row.next);
    case EventKind::kFailed:
      CHECK(event.error.has_value());
      return Fail(std::move(state), *event.error);
    case EventKind::kAbortRequested:
    case EventKind::kDeadline:
      if (!row.abortable) {
        return state;
      }
      return Fail(std::move(state),
                  event.kind == EventKind::kDeadline
                      ? MakeError(ErrorCode::kDeadlineExceeded,
                                  "the deadline passed before the commit point", "DEADLINE")
                      : MakeError(ErrorCode::kCancelled, "aborted by the operator", "ABORTED"));
    case EventKind::kRestarted:
      return Restart(std::move(state));
    case EventKind::kFoundLive:
    case EventKind::kTakenBack:
    case EventKind::kDeclaredEnded:
      return Resolve(std::move(state), event);
  }
  CHECK(false);
  return state;
}

}  // namespace migrate
