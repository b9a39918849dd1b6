#include "cli/exit_code.h"

namespace migrate {

ExitCode ExitCodeOf(const v1::Migration& migration) {
  if (migration.failure().code() == "version mismatch") {
    return ExitCode::kVersion;
  }
  if (migration.failure().code() == "unauthenticated" &&
      migration.outcome() == v1::OUTCOME_REFUSED) {
    return ExitCode::kAuthentication;
  }
  switch (migration.outcome()) {
    case v1::OUTCOME_MOVED:
      return ExitCode::kMoved;
    case v1::OUTCOME_REFUSED:
      return ExitCode::kRefused;
    case v1::OUTCOME_ABORTED:
      return ExitCode::kAborted;
    case v1::OUTCOME_ROLLED_BACK:
      return ExitCode::kRolledBack;
    case v1::OUTCOME_BUDGET_EXCEEDED:
      return ExitCode::kBudget;
    case v1::OUTCOME_IN_DOUBT:
      return ExitCode::kInDoubt;
    default:
      return ExitCode::kInternal;
  }
}

ExitCode ExitCodeOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return ExitCode::kMoved;
    case grpc::StatusCode::INVALID_ARGUMENT:
      return ExitCode::kUsage;
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return ExitCode::kAuthentication;
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return ExitCode::kInternal;
    default:
      return ExitCode::kRefused;
  }
}

}  // namespace migrate
