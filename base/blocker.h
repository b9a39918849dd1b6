// A reason why a container cannot be moved, found before anything is touched. Preflight lists all
// of them at once. The same shape carries notes: things that the operator should know but that
// stop nothing. A value.
#pragma once

#include <string>

namespace migrate {

struct Blocker {
  std::string code;     // machine-readable, e.g. "NETWORK_HOST"
  std::string subject;  // what it is about: a path, a port, a network, ...
  std::string detail;   // why it cannot move
  std::string remedy;   // what the operator can do

  bool operator==(const Blocker&) const = default;
};

}  // namespace migrate
