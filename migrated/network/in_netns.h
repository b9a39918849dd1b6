// ValueInNetns: InNetns() for a function that yields a value.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "base/netns.h"
#include "base/result.h"

namespace migrate {

template <typename T>
Result<T> ValueInNetns(FdRef netns, const std::function<Result<T>()>& function) {
  std::optional<Result<T>> outcome;
  auto entered = InNetns(netns, [&]() -> Result<> {
    outcome.emplace(function());
    return {};
  });
  if (!entered) {
    return Error(std::move(entered).error());
  }
  return *std::move(outcome);
}

}  // namespace migrate
