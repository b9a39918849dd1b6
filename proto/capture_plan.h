// Which bytes of a task's memory belong to the event of a syscall that has just returned: the twin,
// in user space, of what recorder/capture.bpf.c does with a row. Tests hold the two against each
// other, and the fuzzer runs this one. A pure function of its arguments and of the memory that
// `read` shows; any thread.
//
// Everything in the task's memory may be hostile: the plan is bounded by EVENT_MAX_SPANS and
// EVENT_MAX_SYSCALL_DATA whatever stands there, and what it cannot know it reports as a problem.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "proto/capture_row.h"
#include "proto/event_layout.h"

namespace migrate {

struct CaptureCall {
  uint32_t number = 0;
  std::array<uint64_t, EVENT_MAX_ARGS> args{};
  int64_t result = 0;
  fd_class file = FD_NONE;
};

struct PlannedSpan {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;  // EVENT_SPAN_*

  bool operator==(const PlannedSpan&) const = default;
};

struct CapturePlan {
  // Whole: a large one takes several frames. Empty if they cannot be logged (too large, unreadable):
  // then there is no event of the call either.
  std::vector<PlannedSpan> spans;
  event_problem problem = PROBLEM_NONE;
  uint64_t detail = 0;  // class, bytes or address, as event_problem says

  uint64_t Bytes() const;
};

struct PlanOptions {
  bool own_copies = false;   // also what the replica will have by itself
  bool input_bytes = false;  // also what write and send are given
};

// Fills `to` from the task's memory, or returns false.
using MemoryReader = std::function<bool(uint64_t address, std::span<std::byte> to)>;
// The size behind a command (CommandSizes()), COMMAND_* included; nullptr if it is not listed.
using CommandLookup = std::function<const uint32_t*(capture_command)>;

// With the commands of proto/syscall_table.h. For restart_syscall, `row` is that of the call that goes
// on.
CapturePlan PlanCapture(const capture_row& row, const CaptureCall& call, const MemoryReader& read,
                        PlanOptions options = {});
CapturePlan PlanCapture(const capture_row& row, const CaptureCall& call, const MemoryReader& read,
                        const CommandLookup& commands, PlanOptions options = {});

}  // namespace migrate
