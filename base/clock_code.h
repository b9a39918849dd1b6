// The machine code that takes the place of a process's clock functions: pure functions from an image
// of the vDSO to bytes. Recorder and replayer make their code here, so that both sides do the same.
//
// Two kinds:
//   stubs: the function's first bytes become the system call. Nothing else is needed.
//   clocks: the function jumps into a region of the process (base/clock_ring.h). There the original
//     is called and its answer written into the ring (kRecord), or the answer comes from the ring
//     (kReplay). Which calls become system calls depends on the arguments and the number of readings
//     only, so it is the same on both sides.
// The code changes no register that a called function may not change, and is correct as long as no
// other task of the process runs in the middle of it: SCHED_FIFO on one CPU, and signals that are
// held to the end of a system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock_ring.h"
#include "base/result.h"
#include "base/vdso_image.h"

namespace migrate {

// Bytes of the vDSO that are overwritten.
struct VdsoPatch {
  std::uint32_t offset = 0;
  std::vector<std::byte> original;
  std::vector<std::byte> patched;

  bool operator==(const VdsoPatch&) const = default;
};

// For every function that tells of the outside. kFailedPrecondition: one that is not known.
Result<std::vector<VdsoPatch>> BuildStubs(const VdsoImage& image);

enum class ClockMode { kRecord, kReplay };

// A system call of the region's code and what follows it: `syscall` at `offset`, `ret` behind.
struct RegionCall {
  std::uint32_t offset = 0;
  std::uint32_t function = 0;  // of the vDSO: offset
};

struct ClockCode {
  std::vector<std::byte> code;       // the first page of the region
  std::vector<VdsoPatch> patches;    // stubs for what has no clock code
  std::vector<RegionCall> calls;
};

// `vdso` and `region`: their addresses. kFailedPrecondition, with reason "VDSO_CODE" where the
// original code cannot be moved: use the stubs.
Result<ClockCode> BuildClockCode(ClockMode mode, const VdsoImage& image, std::uint64_t vdso,
                                 std::uint64_t region);

// Where a task that is stopped at `ip` can go on once the vDSO has its original bytes again and the
// region is gone: `ip` itself when it is not inside; none: the task must run on for a moment.
// `code`: null where there are only stubs.
std::optional<std::uint64_t> MovedInstruction(const VdsoImage& image,
                                              const std::vector<VdsoPatch>& patches,
                                              std::uint64_t vdso, const ClockCode* code,
                                              std::uint64_t region, std::uint64_t ip);

}  // namespace migrate
