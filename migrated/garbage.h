// `migrate gc`: what dead migrations left on this host, and, if asked for, the stopped containers
// that moved away and their relays. Nothing of a migration that is under way is touched.
#pragma once

#include "base/result.h"
#include "migrated/node.h"
#include "migrated/registry.h"
#include "proto/control.pb.h"
#include "proto/journal.pb.h"

namespace migrate {

// What becomes of an entry of the undo list of a migration that has ended. Past the commit point
// the source is never let go again, and the target never undone: there would be two copies, or
// none.
enum class Leftover {
  kUndo,
  kKill,    // what its fence could not end
  kForget,  // it belongs to the container that moved, or has ended with the one that was fenced
};
Leftover HowToSettle(const v1::MigrationRecord& record, const v1::UndoItem& item);

Result<v1::CollectGarbageResponse> CollectGarbage(Node& node, Registry& registry,
                                                  const v1::CollectGarbageRequest& request);

}  // namespace migrate
