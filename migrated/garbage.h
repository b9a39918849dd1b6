// `migrate gc`: what dead migrations left on this host, and, if asked for, the stopped containers
// that moved away and their relays. Nothing of a migration that is under way is touched.
#pragma once

#include "base/result.h"
#include "migrated/node.h"
#include "migrated/registry.h"
#include "proto/control.pb.h"

namespace migrate {

Result<v1::CollectGarbageResponse> CollectGarbage(Node& node, Registry& registry,
                                                  const v1::CollectGarbageRequest& request);

}  // namespace migrate
