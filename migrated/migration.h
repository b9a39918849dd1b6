// One migration at its source as a pure state machine: Step(state, event) -> what to do next. No
// clock, process, socket or lock; whole migrations run in a test. The driver (source_driver.h)
// journals each new state, then carries out the action, and reports how it ended.
#pragma once

#include <optional>

#include "base/result.h"
#include "proto/phase_table.h"

namespace migrate {

struct MigrationState {
  Step step = Step::kPreflight;
  // True from the moment when the decision is on disk. False again only by kTakenBack: somebody who
  // can know it says that the replica has never run and never will.
  bool committed = false;
  // Anything on either host may have been changed.
  bool touched = false;
  int hand_off_attempts = 0;
  // Why it will end without having moved; the first cause is kept.
  std::optional<Error> failure;
  v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED;
};

enum class EventKind {
  kDone,            // the action of the current step succeeded
  kFailed,          // it failed, with `error`
  kAbortRequested,  // by the operator
  kDeadline,
  kRestarted,  // a fresh daemon found this migration in its journal
  // Found undecided by a fresh daemon, while the operator has let the replica run at the target.
  kFoundLive,
  // Committed, but the copy here is the container after all: said by the operator, or by a target
  // that has given its replica up. `error` says why.
  kTakenBack,
  // Committed and not confirmed: the operator says that the copy here is to end all the same.
  kDeclaredEnded,
};

struct MigrationEvent {
  EventKind kind = EventKind::kDone;
  std::optional<Error> error = std::nullopt;
};

// The next state; its `step` is the action to carry out now. An event that cannot happen in `state`
// is a CHECK.
MigrationState Advance(MigrationState state, const MigrationEvent& event);

// After this many failed attempts the outcome is shown as in doubt while they go on.
inline constexpr int kHandOffAttemptsBeforeDoubt = 10;

}  // namespace migrate
