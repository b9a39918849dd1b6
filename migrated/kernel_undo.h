// Undoes those changes to this host that live in the kernel alone (freezer, nftables): what takes
// neither Docker nor a configuration, and so can be done by the watchdog as well as by a daemon.
// Idempotent, like all of host_undo.h, which calls this. Thread-safe; may block while CRIU, started
// by a daemon that is dead, still dumps.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "proto/journal.pb.h"

namespace migrate {

// What was put back, for the operator; empty: nothing of interest. No value: an item of another
// kind.
Result<std::optional<std::string>> UndoInKernel(const v1::UndoItem& item);

// The detail of an ADDRESS_ROUTE item at the source of a move.
inline constexpr char kAddressRouteAway[] = "away";

// CRIU leaves a cgroup that was frozen when it began frozen when it ends, and killing it in the
// middle can hurt the container: who wants to thaw must wait for it. Returns at once if no CRIU
// traces a task of the cgroup; kDeadlineExceeded if one still does after the time that a dump of
// this container may take; kCancelled as soon as `cancelled` says so.
Result<> WaitForCriuToEnd(
    const std::string& cgroup, const std::function<bool()>& cancelled = [] { return false; });

}  // namespace migrate
