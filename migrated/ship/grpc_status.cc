#include "migrated/ship/grpc_status.h"

#include <optional>

#include "migrated/ship/chunk_limits.h"

namespace migrate {
namespace {

std::optional<v1::Failure> FailureIn(const grpc::Status& status) {
  v1::Failure failure;
  if (status.ok() || status.error_details().empty() ||
      !failure.ParseFromString(status.error_details()) || failure.code() == 0) {
    return std::nullopt;
  }
  return failure;
}

}  // namespace

grpc::StatusCode GrpcCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInternal:
      return grpc::StatusCode::INTERNAL;
    case ErrorCode::kInvalidArgument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorCode::kNotFound:
      return grpc::StatusCode::NOT_FOUND;
    case ErrorCode::kAlreadyExists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kVersionMismatch:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case ErrorCode::kPermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case ErrorCode::kUnauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    case ErrorCode::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case ErrorCode::kAborted:
      return grpc::StatusCode::ABORTED;
    case ErrorCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case ErrorCode::kDataLoss:
      return grpc::StatusCode::DATA_LOSS;
    case ErrorCode::kResourceExhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorCode::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
  }
  return grpc::StatusCode::INTERNAL;
}

ErrorCode ErrorCodeOf(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE:
      return ErrorCode::kInvalidArgument;
    case grpc::StatusCode::NOT_FOUND:
      return ErrorCode::kNotFound;
    case grpc::StatusCode::ALREADY_EXISTS:
      return ErrorCode::kAlreadyExists;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return ErrorCode::kFailedPrecondition;
    case grpc::StatusCode::PERMISSION_DENIED:
      return ErrorCode::kPermissionDenied;
    case grpc::StatusCode::UNAUTHENTICATED:
      return ErrorCode::kUnauthenticated;
    case grpc::StatusCode::UNAVAILABLE:
      return ErrorCode::kUnavailable;
    case grpc::StatusCode::ABORTED:
      return ErrorCode::kAborted;
    case grpc::StatusCode::CANCELLED:
      return ErrorCode::kCancelled;
    case grpc::StatusCode::DATA_LOSS:
      return ErrorCode::kDataLoss;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return ErrorCode::kResourceExhausted;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return ErrorCode::kDeadlineExceeded;
    case grpc::StatusCode::UNIMPLEMENTED:
      // The other daemon is older or newer than the call.
      return ErrorCode::kVersionMismatch;
    default:
      return ErrorCode::kInternal;
  }
}

v1::Failure ToFailure(const Error& error) {
  v1::Failure failure;
  failure.set_code(GrpcCode(error.code));
  failure.set_message(error.message.substr(0, limits::kFailureTextBytesMax));
  failure.set_reason(error.reason.substr(0, limits::kFailureTextBytesMax));
  if (error.code == ErrorCode::kVersionMismatch) {
    failure.set_reason(std::string(kVersionMismatchReason));
  }
  return failure;
}

Error FromFailure(const v1::Failure& failure) {
  Error error = MakeError(ErrorCodeOf(static_cast<grpc::StatusCode>(failure.code())),
                          failure.message(), failure.reason());
  if (error.code == ErrorCode::kFailedPrecondition && error.reason == kVersionMismatchReason) {
    error.code = ErrorCode::kVersionMismatch;
  }
  return error;
}

grpc::Status ToStatus(const Error& error) {
  const v1::Failure failure = ToFailure(error);
  return grpc::Status(GrpcCode(error.code), failure.message(), failure.SerializeAsString());
}

Error FromStatus(const grpc::Status& status) {
  if (const auto failure = FailureIn(status)) {
    return FromFailure(*failure);
  }
  return MakeError(ErrorCodeOf(status.error_code()), status.error_message());
}

bool CarriesError(const grpc::Status& status) { return FailureIn(status).has_value(); }

}  // namespace migrate
