#include "proto/phase_table.h"

namespace migrate {

std::string_view PhaseName(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_PREFLIGHT:
      return "preflight";
    case v1::PHASE_PRESYNC:
      return "presync";
    case v1::PHASE_CHECKPOINT:
      return "checkpoint";
    case v1::PHASE_SHIP:
      return "ship";
    case v1::PHASE_RESTORE:
      return "restore";
    case v1::PHASE_CUTOVER:
      return "cutover";
    case v1::PHASE_CLEANUP:
      return "cleanup";
    case v1::PHASE_UNDO:
      return "undo";
    case v1::PHASE_DONE:
      return "done";
    default:
      return "-";
  }
}

}  // namespace migrate
