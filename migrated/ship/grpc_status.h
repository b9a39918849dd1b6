// Error <-> grpc::Status. An Error that we put on the wire comes back as the same Error, by way of
// a serialised Failure in the status details; a status without one was made by gRPC itself, for
// instance because the connection broke. Internal to .cc files that speak gRPC. Thread-safe.
#pragma once

#include <grpcpp/support/status.h>

#include "base/result.h"
#include "proto/ship.pb.h"

namespace migrate {

// kVersionMismatch has no code of its own in gRPC: this reason tells it apart.
inline constexpr std::string_view kVersionMismatchReason = "VERSION_MISMATCH";

grpc::StatusCode GrpcCode(ErrorCode code);
ErrorCode ErrorCodeOf(grpc::StatusCode code);

// Long texts are cut: gRPC refuses a status that is larger than its header limit.
v1::Failure ToFailure(const Error& error);
Error FromFailure(const v1::Failure& failure);

grpc::Status ToStatus(const Error& error);
Error FromStatus(const grpc::Status& status);
// Whether the other side's own code ended the call, and not gRPC.
bool CarriesError(const grpc::Status& status);

}  // namespace migrate
