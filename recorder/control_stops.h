// The ptrace part of a recording: what the recording program in the kernel cannot do by looking.
//
//   clocks    patched in every process, and in every new program at its exec (recorder/vdso.h)
//   signals   one that comes from outside in the middle of a computation is held until the task's
//             next system call: at the same place in the replica
//   rdtsc     trapped and logged, if asked for
//   turns     a task that keeps the CPU though others wait gives it up between two system calls
//   tasks     born later are traced from their first instruction
//
// A thread of its own is the tracer of all tasks of the container; they run undisturbed but for
// signals, clone, fork and exec, which cost a stop each (0.1 ms). It runs beside the container, on
// other CPUs. When its process dies the kernel lets the tasks go on untraced; the clocks are then put
// back by UndoControlStops(), of any process. A signal that is held at that moment is lost.
//
// Used by one thread; statistics by any.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/cgroup.h"
#include "base/result.h"
#include "recorder/vdso.h"

namespace migrate {

struct ControlStopsOptions {
  std::filesystem::path cgroup;  // of the freezer
  int cpu = -1;                  // of the container
  ClockStyle clocks = ClockStyle::kRing;
  bool trap_tsc = false;  // with clocks as system calls only: the vDSO reads it as well

  // All are called by the tracer thread while the task is stopped.
  // A process has its clocks now. `host_tid`, and the id in the container.
  std::function<Result<>(int host_tgid, uint32_t tid, const ProcessClocks&)> on_clocks;
  // System calls of this task (host id; 0: none) are the recorder's.
  std::function<void(int host_tid)> on_muted;
  std::function<Result<>(uint32_t tid, uint64_t reading, uint64_t ip, uint64_t aux)> on_tsc;
  // The log cannot be replayed from here on; called once.
  std::function<void(const std::string&)> on_problem;
};

struct ControlStopsStats {
  uint64_t held_signals = 0;
  uint64_t tsc_readings = 0;
  uint64_t execs = 0;
  uint64_t yields = 0;
};

class ControlStops {
 public:
  // Takes over a frozen container. When it returns no task runs: all are in stops of the tracer, the
  // cgroup is thawed, and the clocks are patched. On an error the container runs as before.
  static Result<std::unique_ptr<ControlStops>> Begin(ControlStopsOptions options,
                                                     FrozenCgroup frozen);
  // Ends by itself, as with End() of a running container.
  ~ControlStops();
  ControlStops(const ControlStops&) = delete;
  ControlStops& operator=(const ControlStops&) = delete;

  void Go();
  // Freezes if it is not frozen yet, puts everything back, and lets the container run untraced.
  Result<> End(FrozenCgroup frozen);

  ControlStopsStats stats() const;

 private:
  struct Impl;
  explicit ControlStops(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Puts back what a tracer that died has left in the processes of this cgroup. Idempotent; tolerates
// that they are gone. Freezes the container for a moment.
Result<> UndoControlStops(const std::filesystem::path& cgroup);

}  // namespace migrate
