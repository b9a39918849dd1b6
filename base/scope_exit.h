// ScopeExit: runs a function when the scope ends, unless dismissed. Every temporary change to the
// host that is not yet an object of its own is undone by one.
#pragma once

#include <utility>

namespace migrate {

template <typename F>
class [[nodiscard]] ScopeExit {
 public:
  explicit ScopeExit(F function) : function_(std::move(function)) {}
  ScopeExit(const ScopeExit&) = delete;
  ScopeExit& operator=(const ScopeExit&) = delete;
  ~ScopeExit() {
    if (armed_) {
      function_();
    }
  }
  void Dismiss() { armed_ = false; }

 private:
  F function_;
  bool armed_ = true;
};

}  // namespace migrate
