// `create` as a restore. With a ticket for the container, `runc restore` takes the place of `runc
// create`, and the `start` that follows has nothing to do.
//
// Engines that set the network up from outside, between `create` and `start` (no libnetwork hook in
// the bundle), need the restore in two halves: a monitor process runs `runc restore` in the
// background, our hook tells the pid and waits at the moment when the namespaces exist and nothing
// else does, `create` returns, and `start` lets the hook go on and waits for the end.
//
// Each function is one command of the runtime and returns its exit status; what went wrong has then
// been written to stderr, to runc's log (where Docker takes its message from) and to the ticket's
// result. One process, one thread.
#pragma once

#include <string>

#include "base/result.h"
#include "migrated/oci_runtime/command_line.h"
#include "migrated/oci_runtime/ticket.h"

namespace migrate {

int RestoreAtCreate(const CommandLine& line, const RestoreTicket& ticket);

// True if the container's `create` was a restore, so that there is nothing to start. `status` is
// then the exit status for `start`.
bool FinishAtStart(const CommandLine& line, int& status);

// Before `delete` and `kill`: ends a restore that still waits for its `start`. True if there was
// one.
bool AbandonPendingRestore(const CommandLine& line);

// Before a `start` without a ticket: true if the container was restored all the same, i.e. its
// ticket was taken back in between, by a daemon that died and was started again. It is killed then:
// Docker, which gives the start up, does not end what already runs.
bool EndForgottenRestore(const CommandLine& line);

// Before the `start` of a container that lives here after a move and was stopped: the tunnels of
// its relays (standing_plan.h) are set up in the new network namespace. A failure is logged and
// does not keep the container from starting.
void ReconnectRelays(const CommandLine& line);

// The hooks' own commands; the container's state (OCI) comes on stdin.
int RunHook(const std::vector<std::string>& arguments);

// For failures before there is anything to restore.
int ReportFailure(const CommandLine& line, const std::string& message);

}  // namespace migrate
