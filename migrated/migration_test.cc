#include "migrated/migration.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace migrate {
namespace {

MigrationEvent Done() { return {}; }
MigrationEvent Failed(ErrorCode code) { return {EventKind::kFailed, MakeError(code, "x")}; }

MigrationState At(Step step) {
  MigrationState state;
  while (state.step != step) {
    state = Advance(state, Done());
  }
  return state;
}

const std::vector<Step> kBeforeCommit = {Step::kPreflight, Step::kShipImage, Step::kCreateReplica,
                                         Step::kPresync,   Step::kFreeze,    Step::kShip,
                                         Step::kRestore,   Step::kCommit};

TEST(Migration, RunsThroughEveryStepOnce) {
  MigrationState state;
  int steps = 0;
  while (state.step != Step::kEnded) {
    EXPECT_EQ(state.committed, state.step == Step::kHandOff || state.step == Step::kFence);
    state = Advance(state, Done());
    ++steps;
  }
  EXPECT_EQ(steps, 10);
  EXPECT_EQ(state.outcome, v1::OUTCOME_MOVED);
}

TEST(Migration, FailureBeforeTheCommitPointIsUndone) {
  for (const Step step : kBeforeCommit) {
    MigrationState state = Advance(At(step), Failed(ErrorCode::kUnavailable));
    EXPECT_EQ(state.step, Step::kUndo) << RowOf(step).name;
    EXPECT_FALSE(state.committed);
    state = Advance(state, Done());
    EXPECT_EQ(state.outcome,
              step == Step::kPreflight ? v1::OUTCOME_REFUSED : v1::OUTCOME_ROLLED_BACK)
        << RowOf(step).name;
  }
}

TEST(Migration, AbortAndDeadlineHaveTheirOwnOutcome) {
  for (const Step step : kBeforeCommit) {
    if (!RowOf(step).abortable) {
      continue;
    }
    MigrationState aborted = Advance(At(step), {EventKind::kAbortRequested});
    EXPECT_EQ(aborted.step, Step::kUndo);
    EXPECT_EQ(Advance(aborted, Done()).outcome, v1::OUTCOME_ABORTED);
    EXPECT_EQ(Advance(Advance(At(step), {EventKind::kDeadline}), Done()).outcome,
              v1::OUTCOME_BUDGET_EXCEEDED);
  }
}

TEST(Migration, NothingUndoesACommittedMigration) {
  for (const Step step : {Step::kHandOff, Step::kFence}) {
    EXPECT_EQ(Advance(At(step), {EventKind::kAbortRequested}).step, step);
    EXPECT_EQ(Advance(At(step), {EventKind::kRestarted}).step, Step::kHandOff);
    EXPECT_NE(Advance(At(step), Failed(ErrorCode::kInternal)).step, Step::kUndo);
  }
}

TEST(Migration, HandOffIsRetriedAndShownAsInDoubt) {
  MigrationState state = At(Step::kHandOff);
  for (int i = 0; i < kHandOffAttemptsBeforeDoubt; ++i) {
    EXPECT_EQ(state.outcome, v1::OUTCOME_UNSPECIFIED);
    state = Advance(state, Failed(ErrorCode::kUnavailable));
    EXPECT_EQ(state.step, Step::kHandOff);
  }
  EXPECT_EQ(state.outcome, v1::OUTCOME_IN_DOUBT);
  state = Advance(Advance(state, Done()), Done());
  EXPECT_EQ(state.outcome, v1::OUTCOME_MOVED);
}

TEST(Migration, RestartBeforeTheCommitPointUndoes) {
  for (const Step step : kBeforeCommit) {
    EXPECT_EQ(Advance(At(step), {EventKind::kRestarted}).step, Step::kUndo);
  }
}

MigrationState InDoubt() {
  MigrationState state = At(Step::kHandOff);
  while (state.outcome != v1::OUTCOME_IN_DOUBT) {
    state = Advance(state, Failed(ErrorCode::kUnavailable));
  }
  return state;
}

MigrationEvent TakenBack() {
  return {EventKind::kTakenBack, MakeError(ErrorCode::kCancelled, "by the operator", "RESOLVED")};
}

TEST(Migration, DoubtLastsUntilTheTargetConfirms) {
  MigrationState state = InDoubt();
  for (int i = 0; i < 100; ++i) {
    state = Advance(state, Failed(ErrorCode::kUnavailable));
    EXPECT_EQ(state.step, Step::kHandOff);
    EXPECT_EQ(state.outcome, v1::OUTCOME_IN_DOUBT);
    EXPECT_TRUE(state.committed);
  }
  // Also for a fresh daemon, which may say so at once: the record has the outcome.
  state = Advance(state, {EventKind::kRestarted});
  EXPECT_EQ(state.step, Step::kHandOff);
  EXPECT_EQ(state.outcome, v1::OUTCOME_IN_DOUBT);
  EXPECT_EQ(Advance(Advance(state, Done()), Done()).outcome, v1::OUTCOME_MOVED);
}

TEST(Migration, TakenBackTheSourceGoesOn) {
  MigrationState state = Advance(InDoubt(), TakenBack());
  EXPECT_EQ(state.step, Step::kUndo);
  EXPECT_FALSE(state.committed);
  // The daemon may die in the undo: the next one undoes again.
  state = Advance(state, {EventKind::kRestarted});
  EXPECT_EQ(state.step, Step::kUndo);
  state = Advance(state, Done());
  EXPECT_EQ(state.step, Step::kEnded);
  EXPECT_EQ(state.outcome, v1::OUTCOME_ABORTED);
  EXPECT_EQ(state.failure->reason, "RESOLVED");
}

TEST(Migration, DeclaredEndedTheSourceIsFenced) {
  MigrationState state = Advance(InDoubt(), {EventKind::kDeclaredEnded});
  EXPECT_EQ(state.step, Step::kFence);
  EXPECT_TRUE(state.committed);
  EXPECT_EQ(state.outcome, v1::OUTCOME_UNSPECIFIED);
  EXPECT_EQ(Advance(state, Done()).outcome, v1::OUTCOME_MOVED);
}

TEST(Migration, FoundLiveAtTheTargetTheSourceNeverGoesOn) {
  for (const Step step : kBeforeCommit) {
    MigrationState state = Advance(At(step), {EventKind::kFoundLive});
    EXPECT_EQ(state.step, Step::kHandOff) << RowOf(step).name;
    EXPECT_TRUE(state.committed);
    EXPECT_EQ(Advance(Advance(state, Done()), Done()).outcome, v1::OUTCOME_MOVED);
  }
}

TEST(MigrationDeathTest, OnlyADoubtIsResolved) {
  for (const Step step : {Step::kPresync, Step::kRestore, Step::kFence}) {
    EXPECT_DEATH(Advance(At(step), TakenBack()), "");
    EXPECT_DEATH(Advance(At(step), {EventKind::kDeclaredEnded}), "");
  }
  EXPECT_DEATH(Advance(At(Step::kHandOff), {EventKind::kFoundLive}), "");
}

// Whatever happens in whatever order: without a word from the operator or the target the source
// never undoes (= goes on) once it has committed, and every migration ends.
TEST(Migration, RandomHistoriesNeverRunTwoCopies) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    MigrationState state;
    bool was_committed = false;
    for (int i = 0; i < 1000 && state.step != Step::kEnded; ++i) {
      switch (random() % 8) {
        case 0:
          state = Advance(state, Failed(ErrorCode::kInternal));
          break;
        case 1:
          state = Advance(state, {EventKind::kAbortRequested});
          break;
        case 2:
          state = Advance(state, {EventKind::kRestarted});
          break;
        default:
          state = Advance(state, Done());
      }
      EXPECT_FALSE(was_committed && !state.committed);
      EXPECT_FALSE(state.committed && RowOf(state.step).may_run == MayRun::kSource);
      was_committed = state.committed;
    }
    EXPECT_EQ(state.step, Step::kEnded);
    EXPECT_NE(state.outcome, v1::OUTCOME_UNSPECIFIED);
    EXPECT_EQ(state.committed, state.outcome == v1::OUTCOME_MOVED);
  }
}

}  // namespace
}  // namespace migrate
