// Whether a container can go from one node to another, from what the two say of themselves in the
// handshake. Pure; both sides ask it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "proto/control.pb.h"

namespace migrate {

// Of peer.proto and ship.proto together; raised when an older daemon would misunderstand. In a file
// of its own, so that a test can link a daemon of another version.
std::uint32_t ProtocolVersion();

std::vector<v1::Blocker> CompatibilityBlockers(const v1::Node& source, const v1::Node& target);

// Code kVersionMismatch if the protocols differ, else kFailedPrecondition; the first blocker in
// words, and how many more there are.
Error BlockersError(const std::vector<v1::Blocker>& blockers);

}  // namespace migrate
