// Result<T>: a value or an Error, for failures that are expected. An impossible state is a CHECK.
//
// Errors carry a code, which callers may act on and which the daemon maps to one gRPC status and
// the CLI to one exit code, and a message for the operator: what failed, why, what to do. Context
// is added once, at the layer that knows the container. No exception crosses a Result boundary.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace migrate {

// Named after the gRPC codes that they become; kVersionMismatch is FAILED_PRECONDITION on the wire
// with a machine-readable reason of its own.
enum class ErrorCode {
  kInternal,
  kInvalidArgument,
  kNotFound,
  kAlreadyExists,
  kFailedPrecondition,
  kPermissionDenied,
  kUnauthenticated,
  kUnavailable,
  kAborted,
  kCancelled,
  kDataLoss,
  kResourceExhausted,
  kDeadlineExceeded,
  kVersionMismatch,
};

std::string_view ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  // The machine-readable reason, e.g. "CONTAINER_NOT_RUNNING"; empty where there is none.
  std::string reason = {};

  Error WithContext(std::string_view context) && {
    message = std::string(context) + ": " + message;
    return std::move(*this);
  }
};

template <typename T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using Base = tl::expected<T, Error>;
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}  // NOLINT: implicit by design
  Result(Base base) : Base(std::move(base)) {}                   // NOLINT
};

inline Error MakeError(ErrorCode code, std::string message, std::string reason = {}) {
  return Error{code, std::move(message), std::move(reason)};
}

// "open /x: No such file or directory" with the code that fits `error_number` (errno by default).
Error ErrnoError(std::string_view what, int error_number = errno);

}  // namespace migrate

// TRY(expr): the value of a Result, or return its Error from the enclosing function. Each use has a
// variable of its own, so that one may stand inside another.
#define TRY(expr) MIGRATE_TRY_COUNTED(expr, __COUNTER__)
#define MIGRATE_TRY_COUNTED(expr, counter) MIGRATE_TRY_NAMED(expr, counter)
#define MIGRATE_TRY_NAMED(expr, counter)                                \
  (__extension__({                                                      \
    auto try_result_##counter = (expr);                                 \
    if (!try_result_##counter) {                                        \
      return ::migrate::Error(std::move(try_result_##counter).error()); \
    }                                                                   \
    ::migrate::internal::Unwrap(std::move(try_result_##counter));       \
  }))

namespace migrate::internal {
template <typename T>
T Unwrap(Result<T>&& result) {
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}
}  // namespace migrate::internal
