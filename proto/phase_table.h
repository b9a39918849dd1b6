// The steps of a migration, as both hosts know them: one row per step. Who may run, whether the
// step can be aborted, what follows, and which phase the operator sees, are read from here and
// nowhere else. docs/phases.md is generated from this table.
#pragma once

#include <array>
#include <string_view>

#include "proto/control.pb.h"

namespace migrate {

enum class Step {
  kPreflight,      // local blockers, handshake, blockers of the target
  kShipImage,      // the image, if the target lacks it
  kCreateReplica,  // container, networks, volumes at the target, not started
  kPresync,        // files, while the container runs
  kFreeze,         // freeze, network lock, final files, CRIU
  kShip,           // the rest of the checkpoint
  kRestore,        // replica restored and stopped: the target is prepared
  kCommit,         // the commit point: one fsync in the source's journal
  kHandOff,        // replica live, traffic led there
  kFence,          // source container ended silently, named as moved
  kUndo,           // before the commit point only: target cleaned, source thawed
  kEnded,
};

enum class MayRun { kSource, kNobody, kTarget };

struct StepRow {
  Step step;
  std::string_view name;
  v1::Phase phase;
  MayRun may_run;   // whose copy may execute instructions during the step
  bool abortable;   // by the operator or the deadline
  Step next;        // when it is done
  Step on_failure;  // where a failure or an abort leads
  std::string_view what;
};

inline constexpr std::array kStepTable = {
    StepRow{Step::kPreflight, "preflight", v1::PHASE_PREFLIGHT, MayRun::kSource, true,
            Step::kShipImage, Step::kUndo, "look for every reason not to start, on both hosts"},
    StepRow{Step::kShipImage, "ship-image", v1::PHASE_PRESYNC, MayRun::kSource, true,
            Step::kCreateReplica, Step::kUndo, "ship the layers that the target lacks"},
    StepRow{Step::kCreateReplica, "create-replica", v1::PHASE_PRESYNC, MayRun::kSource, true,
            Step::kPresync, Step::kUndo, "create networks, volumes and the container"},
    StepRow{Step::kPresync, "presync", v1::PHASE_PRESYNC, MayRun::kSource, true, Step::kFreeze,
            Step::kUndo, "ship files in rounds while the container runs"},
    StepRow{Step::kFreeze, "freeze", v1::PHASE_CHECKPOINT, MayRun::kNobody, true, Step::kShip,
            Step::kUndo, "freeze, lock the network, ship what changed, checkpoint"},
    StepRow{Step::kShip, "ship", v1::PHASE_SHIP, MayRun::kNobody, true, Step::kRestore, Step::kUndo,
            "ship the rest of the checkpoint"},
    StepRow{Step::kRestore, "restore", v1::PHASE_RESTORE, MayRun::kNobody, true, Step::kCommit,
            Step::kUndo, "restore the replica, stopped, its network locked"},
    StepRow{Step::kCommit, "commit", v1::PHASE_CUTOVER, MayRun::kNobody, false, Step::kHandOff,
            Step::kUndo, "the commit point: the decision is on the source's disk"},
    StepRow{Step::kHandOff, "hand-off", v1::PHASE_CUTOVER, MayRun::kTarget, false, Step::kFence,
            Step::kHandOff, "lead the traffic to the replica and let it run"},
    StepRow{Step::kFence, "fence", v1::PHASE_CLEANUP, MayRun::kTarget, false, Step::kEnded,
            Step::kEnded, "end the source container silently and rename it"},
    StepRow{Step::kUndo, "undo", v1::PHASE_UNDO, MayRun::kSource, false, Step::kEnded, Step::kEnded,
            "let the source go on, then clean the target"},
    StepRow{Step::kEnded, "ended", v1::PHASE_DONE, MayRun::kNobody, false, Step::kEnded,
            Step::kEnded, "nothing left to do"},
};

constexpr const StepRow& RowOf(Step step) { return kStepTable[static_cast<std::size_t>(step)]; }

namespace internal {
constexpr bool StepTableIsInOrder() {
  for (std::size_t i = 0; i < kStepTable.size(); ++i) {
    if (static_cast<std::size_t>(kStepTable[i].step) != i) {
      return false;
    }
  }
  return kStepTable.size() == static_cast<std::size_t>(Step::kEnded) + 1;
}
static_assert(StepTableIsInOrder());
}  // namespace internal

// The phase as the operator reads it: "preflight".
std::string_view PhaseName(v1::Phase phase);

}  // namespace migrate
