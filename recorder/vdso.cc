#include "recorder/vdso.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/clock_code.h"
#include "base/clock_ring.h"
#include "base/file_util.h"
#include "base/limits.h"
#include "base/proc_maps.h"
#include "base/remote_calls.h"
#include "base/tracee_memory.h"
#include "base/vdso_image.h"

namespace migrate {
namespace {

constexpr uint64_t kRegionBytes = CLOCK_REGION_PAGES * CLOCK_PAGE;
constexpr uint64_t kRegionReach = 1u << 30;     // for 32-bit distances, with room to spare
constexpr uint64_t kRegionDistance = 1u << 20;  // from other mappings, which may grow
constexpr std::byte kJump{0xe9};

Result<const VdsoImage*> Own() {
  static const Result<VdsoImage> image = OwnVdso();
  if (!image) {
    return image.error();
  }
  return &*image;
}

Result<std::vector<std::byte>> ReadVdso(pid_t pid, const Mapping& vdso) {
  std::vector<std::byte> bytes(vdso.end - vdso.start);
  TRY(ReadTraceeMemory(pid, vdso.start, bytes));
  return bytes;
}

// Makes the region; 0 if the process may not have it.
Result<uint64_t> MakeRegion(StoppedTracee& task, WaitSource& waits, const Mapping& vdso,
                            const VdsoImage& image, const MuteCalls& mute) {
  const uint64_t region = FindFreeRange(TRY(ReadProcMaps(task.tid())), vdso, kRegionBytes,
                                        kRegionReach, kRegionDistance);
  if (region == 0) {
    return uint64_t{0};
  }
  const auto code = BuildClockCode(ClockMode::kRecord, image, vdso.start, region);
  if (!code) {
    return code.error().reason == "VDSO_CODE" ? Result<uint64_t>(0) : code.error();
  }
  RemoteCalls calls = TRY(RemoteCalls::Begin(task, waits));
  mute(true);
  const auto made =
      calls.Call(SYS_mmap, {region, kRegionBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~uint64_t{0}, 0});
  // The ring must be there before it is used: the recording program reads only what is.
  const std::vector<std::byte> zeroes(kRegionBytes - CLOCK_HEADER_OFFSET);
  bool usable = made && static_cast<uint64_t>(*made) == region &&
                WriteTraceeMemory(task.tid(), region, code->code) &&
                WriteTraceeMemory(task.tid(), region + CLOCK_HEADER_OFFSET, zeroes);
  if (usable) {
    const auto executable = calls.Call(SYS_mprotect, {region, CLOCK_PAGE, PROT_READ | PROT_EXEC});
    usable = executable && *executable == 0;
    if (!usable) {
      static_cast<void>(calls.Call(SYS_munmap, {region, kRegionBytes}));
    }
  }
  mute(false);
  TRY(std::move(calls).End());
  if (!usable) {
    return uint64_t{0};
  }
  for (const VdsoPatch& patch : code->patches) {
    TRY(WriteTraceeMemory(task.tid(), vdso.start + patch.offset, patch.patched));
  }
  return region;
}

Error UnknownVdso(pid_t pid) {
  return MakeError(
      ErrorCode::kFailedPrecondition,
      "process " + std::to_string(pid) +
          " has a vDSO that is not this kernel's: its clock readings cannot be recorded",
      "VDSO_UNKNOWN");
}

// Where a function that has been patched jumps to: into the first page of the region. 0: none does.
uint64_t FindRegion(const std::vector<std::byte>& bytes, const Mapping& vdso,
                    const VdsoImage& image) {
  for (const VdsoFunction& function : image.functions) {
    if (bytes[function.offset] == kJump && image.bytes[function.offset] != kJump) {
      int32_t distance = 0;
      memcpy(&distance, &bytes[function.offset + 1], sizeof(distance));
      const uint64_t target =
          vdso.start + function.offset + 5 + static_cast<uint64_t>(int64_t{distance});
      return target / CLOCK_PAGE * CLOCK_PAGE;
    }
  }
  return 0;
}

struct Patched {
  std::vector<VdsoPatch> patches;
  ClockCode code;  // empty with system calls
};
Result<Patched> PatchedAs(const VdsoImage& image, const ProcessClocks& clocks) {
  Patched patched;
  if (clocks.region == 0) {
    patched.patches = TRY(BuildStubs(image));
  } else {
    patched.code = TRY(BuildClockCode(ClockMode::kRecord, image, clocks.vdso, clocks.region));
    patched.patches = patched.code.patches;
  }
  return patched;
}

// The task's next stop, which must come soon.
Result<> NextStop(StoppedTracee& task, WaitSource& waits, Resume how) {
  RunningTracee running = std::move(task).Go(how);
  const auto event = TRY(waits.Wait(running.tid(), limits::kRemoteCallTimeout));
  if (!event) {
    return MakeError(ErrorCode::kDeadlineExceeded,
                     "task " + std::to_string(running.tid()) + " does not leave its clock code");
  }
  auto state = std::move(running).Decode(event->status);
  if (!std::holds_alternative<StoppedTracee>(state)) {
    return MakeError(ErrorCode::kNotFound, "the task ended");
  }
  task = std::get<StoppedTracee>(std::move(state));
  return {};
}

// Where the task can go on without our code; false: not from here.
Result<bool> MoveOut(StoppedTracee& task, const VdsoImage& image, const Patched& patched,
                     const ProcessClocks& clocks) {
  Registers registers = TRY(task.GetRegs());
  const ClockCode* code = clocks.region == 0 ? nullptr : &patched.code;
  const auto moved =
      MovedInstruction(image, patched.patches, clocks.vdso, code, clocks.region, registers.rip);
  if (moved && *moved != registers.rip) {
    registers.rip = *moved;
    TRY(task.SetRegs(registers));
  }
  return moved.has_value();
}

// Steps until the task is outside, and stops it there as it was stopped before.
Result<> Leave(StoppedTracee& task, WaitSource& waits, const VdsoImage& image,
               const Patched& patched, const ProcessClocks& clocks) {
  if (TRY(MoveOut(task, image, patched, clocks))) {
    return {};
  }
  const uint64_t mask = TRY(task.GetSigMask());
  TRY(task.SetSigMask(~uint64_t{0}));  // a step must not be taken for a signal, or lose one
  bool outside = false;
  for (int step = 0; step < limits::kMaxVdsoSteps && !outside; ++step) {
    TRY(NextStop(task, waits, Resume::kSingleStep));
    outside = TRY(MoveOut(task, image, patched, clocks));
  }
  TRY(task.InterruptNext());
  TRY(NextStop(task, waits, Resume::kContinue));
  TRY(task.SetSigMask(mask));
  if (!outside) {
    return MakeError(ErrorCode::kInternal,
                     "task " + std::to_string(task.tid()) + " does not leave its clock code");
  }
  return {};
}

}  // namespace

Result<ProcessClocks> PatchClocks(StoppedTracee& task, WaitSource& waits, ClockStyle style,
                                  const MuteCalls& mute) {
  ProcessClocks clocks;
  const auto vdso = TRY(FindVdso(task.tid()));
  if (!vdso) {
    return clocks;
  }
  const VdsoImage& image = *TRY(Own());
  clocks.vdso = vdso->start;
  clocks.vdso_end = vdso->end;
  if (TRY(ReadVdso(task.tid(), *vdso)) != image.bytes) {
    return UnknownVdso(task.tid());
  }
  if (style == ClockStyle::kRing) {
    clocks.region = TRY(MakeRegion(task, waits, *vdso, image, mute));
    if (clocks.region != 0) {
      return clocks;
    }
  }
  for (const VdsoPatch& patch : TRY(BuildStubs(image))) {
    TRY(WriteTraceeMemory(task.tid(), vdso->start + patch.offset, patch.patched));
  }
  return clocks;
}

Result<std::optional<ProcessClocks>> FindPatchedClocks(pid_t pid) {
  const auto vdso = TRY(FindVdso(pid));
  const VdsoImage& image = *TRY(Own());
  if (!vdso || vdso->end - vdso->start != image.bytes.size()) {
    return std::optional<ProcessClocks>();
  }
  const std::vector<std::byte> bytes = TRY(ReadVdso(pid, *vdso));
  if (bytes == image.bytes) {
    return std::optional<ProcessClocks>();
  }
  const ProcessClocks clocks{vdso->start, vdso->end, FindRegion(bytes, *vdso, image)};
  const Patched patched = TRY(PatchedAs(image, clocks));
  for (const VdsoPatch& patch : patched.patches) {  // ours?
    if (memcmp(&bytes[patch.offset], patch.patched.data(), patch.patched.size()) != 0 &&
        memcmp(&bytes[patch.offset], patch.original.data(), patch.original.size()) != 0) {
      return UnknownVdso(pid);
    }
  }
  return std::optional(clocks);
}

Result<> RestoreClocks(pid_t pid, std::span<StoppedTracee* const> tasks, WaitSource& waits) {
  const auto clocks = TRY(FindPatchedClocks(pid));
  if (!clocks) {
    return {};
  }
  const VdsoImage& image = *TRY(Own());
  const Patched patched = TRY(PatchedAs(image, *clocks));
  for (StoppedTracee* task : tasks) {
    TRY(Leave(*task, waits, image, patched, *clocks));
  }
  for (const VdsoPatch& patch : patched.patches) {
    TRY(WriteTraceeMemory(pid, clocks->vdso + patch.offset, patch.original));
  }
  if (clocks->region != 0 && !tasks.empty()) {
    const int64_t unmapped =
        TRY(RemoteSyscall(*tasks.front(), waits, SYS_munmap, {clocks->region, kRegionBytes}));
    if (unmapped != 0) {
      return ErrnoError("remove the clock ring of process " + std::to_string(pid),
                        static_cast<int>(-unmapped));
    }
  }
  return {};
}

uint64_t OutsidePatchedCode(const ProcessClocks& clocks, uint64_t ip) {
  const bool in_region =
      clocks.region != 0 && ip >= clocks.region && ip < clocks.region + CLOCK_PAGE;
  const bool in_vdso = ip >= clocks.vdso && ip < clocks.vdso_end;
  const auto image = Own();
  if (!(in_region || in_vdso) || !image) {
    return ip;
  }
  const auto patched = PatchedAs(**image, clocks);
  if (!patched) {
    return ip;
  }
  return MovedInstruction(**image, patched->patches, clocks.vdso,
                          clocks.region == 0 ? nullptr : &patched->code, clocks.region, ip)
      .value_or(ip);
}

Result<std::vector<pid_t>> TasksInsideVdso(std::span<const int> tids) {
  std::vector<pid_t> inside;
  for (const int tid : tids) {
    const auto text = ReadSmallFile("/proc/" + std::to_string(tid) + "/syscall");
    uint64_t stack = 0;
    uint64_t ip = 0;
    // In a system call the line begins with its number.
    if (!text || sscanf(text->c_str(), "-1 %" SCNx64 " %" SCNx64, &stack, &ip) != 2) {
      continue;
    }
    const auto vdso = TRY(FindVdso(tid));
    if (vdso && vdso->Contains(ip)) {
      inside.push_back(tid);
    }
  }
  return inside;
}

}  // namespace migrate
