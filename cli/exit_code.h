// The documented exit codes (docs/cli.md), and which outcome or error leads to which. Any code but
// 1 and 7 promises that the source runs.
#pragma once

#include <grpcpp/support/status.h>

#include "proto/control.pb.h"

namespace migrate {

enum class ExitCode {
  kMoved = 0,
  kInternal = 1,
  kUsage = 2,
  kRefused = 3,
  kAborted = 4,
  kRolledBack = 5,
  kBudget = 6,
  kInDoubt = 7,
  kAuthentication = 8,
  kVersion = 9,
  kDiverged = 10,
};

ExitCode ExitCodeOf(const v1::Migration& migration);
ExitCode ExitCodeOf(const grpc::Status& status);

}  // namespace migrate
