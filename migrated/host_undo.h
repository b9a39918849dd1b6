// Undoes one change to this host, from its journal entry alone, so that a fresh daemon can do it.
// Idempotent: what is gone already is success. The text says what was put back, for the operator;
// it is empty where that is of no interest.
#pragma once

#include <string>

#include "base/result.h"
#include "migrated/node.h"
#include "proto/journal.pb.h"

namespace migrate {

Result<std::string> UndoOnHost(Node& node, const v1::UndoItem& item);

}  // namespace migrate
