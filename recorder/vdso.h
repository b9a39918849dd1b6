// The clocks of a recorded process: the functions of its vDSO are overwritten, so that every reading
// is either in a ring in its own memory that the recording program empties (base/clock_ring.h), or a
// system call. And back again.
//
// All tasks that share the memory must be in ptrace stops of the calling thread, none of them inside
// the vDSO. Children have the same by copying; a new program (exec) has a fresh vDSO. What has been
// done to a process is told by its memory alone, so a fresh process can undo it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/tracee.h"
#include "base/wait_source.h"

namespace migrate {

enum class ClockStyle { kRing, kSystemCalls };

struct ProcessClocks {
  uint64_t vdso = 0;  // address; 0: the process has none, and its readings are system calls anyway
  uint64_t vdso_end = 0;
  uint64_t region = 0;  // of the ring; 0: readings are system calls
};

// System calls made in the task from outside are not its own: called with true before them, with
// false behind them.
using MuteCalls = std::function<void(bool)>;

// A ring that is refused (a seccomp filter, a policy against executable memory) becomes system calls.
// kFailedPrecondition VDSO_UNKNOWN: not the vDSO of this kernel.
Result<ProcessClocks> PatchClocks(StoppedTracee& task, WaitSource& waits, ClockStyle style,
                                  const MuteCalls& mute);

// What PatchClocks() has done to a process, from its memory; none: nothing.
Result<std::optional<ProcessClocks>> FindPatchedClocks(pid_t pid);

// Undoes it. `tasks`: all that share the memory of `pid`, in stops that RemoteCalls takes.
Result<> RestoreClocks(pid_t pid, std::span<StoppedTracee* const> tasks, WaitSource& waits);

// Where a task at `ip` inside patched code goes on with the same effect when that code is gone: for
// the address that a signal handler returns to. `ip` itself if it is elsewhere, or if there is none.
uint64_t OutsidePatchedCode(const ProcessClocks& clocks, uint64_t ip);

// Tasks of the frozen cgroup that were stopped inside their vDSO: in the middle of a reading that
// nobody would log.
Result<std::vector<pid_t>> TasksInsideVdso(std::span<const int> tids);

}  // namespace migrate
