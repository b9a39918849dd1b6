// Named points of a migration at which a test makes the daemon fail, die or wait, so that every
// error path can be walked on purpose. Nothing happens unless the environment variable
// MIGRATED_FAULTS of the daemon names points, as "POINT=ACTION[,POINT=ACTION...]" with ACTION
// `kill` (SIGKILL to itself), `fail` (the step fails there) or `wait:MILLISECONDS`.
//
// One table: `migrated --list-fault-points` prints it, and the test cases are made from it.
// Thread-safe; read once at the start.
#pragma once

#include <array>
#include <string_view>

#include "base/result.h"

namespace migrate {

enum class FaultPoint {
  kPrepared,
  kImageShipped,
  kReplicaCreated,
  kPresynced,
  kHolding,
  kFrozen,
  kLocked,
  kCheckpointed,
  kShipped,
  kRestored,
  kBeforeCommit,
  kCommitted,
  kTrafficLed,
  kConfirmed,
  kFencing,
  kFenced,
  kTargetPrepared,
  kTargetCreated,
  kTargetReceived,
  kTargetRestoring,
  kTargetRestored,
  kTargetPromised,
  kTargetCommitted,
  kTargetConnected,
  kTargetResumed,
  kTargetActivated,
  kOriginHoldsNew,
  kOriginHolds,
  kOriginRepointing,
  kOriginRepointed,
  kOriginReleasing,
};

// An origin is the host of a relay in a move between two others.
enum class FaultSide { kSource, kTarget, kOrigin };

struct FaultRow {
  FaultPoint point;
  std::string_view name;
  FaultSide side;
  std::string_view phase;  // as the operator sees it
  bool after_commit;       // of the source's commit point
};

inline constexpr std::array kFaultTable = {
    FaultRow{FaultPoint::kPrepared, "prepared", FaultSide::kSource, "preflight", false},
    FaultRow{FaultPoint::kImageShipped, "image-shipped", FaultSide::kSource, "presync", false},
    FaultRow{FaultPoint::kReplicaCreated, "replica-created", FaultSide::kSource, "presync", false},
    FaultRow{FaultPoint::kPresynced, "presynced", FaultSide::kSource, "presync", false},
    FaultRow{FaultPoint::kHolding, "holding", FaultSide::kSource, "checkpoint", false},
    FaultRow{FaultPoint::kFrozen, "frozen", FaultSide::kSource, "checkpoint", false},
    FaultRow{FaultPoint::kLocked, "locked", FaultSide::kSource, "checkpoint", false},
    FaultRow{FaultPoint::kCheckpointed, "checkpointed", FaultSide::kSource, "checkpoint", false},
    FaultRow{FaultPoint::kShipped, "shipped", FaultSide::kSource, "ship", false},
    FaultRow{FaultPoint::kRestored, "restored", FaultSide::kSource, "restore", false},
    FaultRow{FaultPoint::kBeforeCommit, "before-commit", FaultSide::kSource, "cutover", false},
    FaultRow{FaultPoint::kCommitted, "committed", FaultSide::kSource, "cutover", true},
    FaultRow{FaultPoint::kTrafficLed, "traffic-led", FaultSide::kSource, "cutover", true},
    FaultRow{FaultPoint::kConfirmed, "confirmed", FaultSide::kSource, "cutover", true},
    FaultRow{FaultPoint::kFencing, "fencing", FaultSide::kSource, "cleanup", true},
    FaultRow{FaultPoint::kFenced, "fenced", FaultSide::kSource, "cleanup", true},
    FaultRow{FaultPoint::kTargetPrepared, "target-prepared", FaultSide::kTarget, "preflight",
             false},
    FaultRow{FaultPoint::kTargetCreated, "target-created", FaultSide::kTarget, "presync", false},
    FaultRow{FaultPoint::kTargetReceived, "target-received", FaultSide::kTarget, "presync", false},
    FaultRow{FaultPoint::kTargetRestoring, "target-restoring", FaultSide::kTarget, "restore",
             false},
    FaultRow{FaultPoint::kTargetRestored, "target-restored", FaultSide::kTarget, "restore", false},
    FaultRow{FaultPoint::kTargetPromised, "target-promised", FaultSide::kTarget, "restore", false},
    FaultRow{FaultPoint::kTargetCommitted, "target-committed", FaultSide::kTarget, "cutover", true},
    FaultRow{FaultPoint::kTargetConnected, "target-connected", FaultSide::kTarget, "cutover", true},
    FaultRow{FaultPoint::kTargetResumed, "target-resumed", FaultSide::kTarget, "cutover", true},
    FaultRow{FaultPoint::kTargetActivated, "target-activated", FaultSide::kTarget, "cutover", true},
    FaultRow{FaultPoint::kOriginHoldsNew, "origin-holds-new", FaultSide::kOrigin, "checkpoint",
             false},
    FaultRow{FaultPoint::kOriginHolds, "origin-holds", FaultSide::kOrigin, "checkpoint", false},
    FaultRow{FaultPoint::kOriginRepointing, "origin-repointing", FaultSide::kOrigin, "cutover",
             true},
    FaultRow{FaultPoint::kOriginRepointed, "origin-repointed", FaultSide::kOrigin, "cutover", true},
    FaultRow{FaultPoint::kOriginReleasing, "origin-releasing", FaultSide::kOrigin, "cutover", true},
};

// Reads MIGRATED_FAULTS; an unknown point or action is an error. To be called once, before threads.
Result<> LoadFaults();

// Carries out what the environment asks for here. "fail" past the commit point is tried again by
// the step, so it fails there once only.
Result<> Fault(FaultPoint point);

}  // namespace migrate
