// One recording of a container, from T0 to its end: capture, one CPU, clocks, control stops and the
// log, put together in the one order in which no input is missed and everything is put back.
//
//   Prepare()   the container runs; loads the program into the kernel (a tenth of a second)
//   Plan()      frozen, after the checkpoint: what Start() will change, for the caller's journal
//   Start()     takes the freeze over; when it returns the container runs, and every input is logged
//   ...         a thread empties the ring into the log; state() tells
//   Freeze()    the final freeze: everything that happened before is in the log
//   Finish()    takes the freeze over; puts everything back; the container runs as before Start()
//
// Not one instruction of the container lies between the checkpoint and the first event, and none
// between the last event and the final freeze. A problem (a call that cannot be replayed, a full
// ring, a task that starves the others) ends the recording by itself: what it changed is put back at
// once, the log ends before the problem, and state() names it. The destructor does the same.
//
// A fresh process undoes the changes of one that died with UndoRecording().
// Used by one thread; state() by any.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/blocker.h"
#include "base/cgroup.h"
#include "base/result.h"

namespace migrate {

struct RecordingOptions {
  std::string epoch;                // names the log: the id of the migration or recording
  std::string container_id;
  int init_pid = 0;
  std::filesystem::path cgroup;     // of the freezer
  std::filesystem::path log_path;   // made
  std::optional<int> cpu;           // none: the recorder chooses
  bool slow_clocks = false;         // clock readings become system calls
  bool trap_tsc = false;            // log rdtsc; implies slow_clocks
  bool log_own_copies = false;
  bool log_input_bytes = false;
  int compression_level = 1;        // of zstd, 0 none
  std::size_t ring_bytes = std::size_t{64} << 20;  // between kernel and log; a power of two
};

struct RecordingState {
  bool running = false;             // every input is being logged
  std::string problem;              // why it ended by itself
  uint64_t events = 0;
  uint64_t frame_bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t durable_lsn = 0;
  uint64_t lost_events = 0;
  uint32_t tasks = 0;
  int cpu = -1;
  uint64_t clock_readings = 0;      // without a system call
  uint64_t held_signals = 0;
  std::vector<std::string> warnings;
};

// What a change is undone with, to be kept where a fresh process finds it.
struct RecordingUndo {
  enum class Kind { kScheduling, kVdso, kTsc };
  Kind kind;
  std::string value;  // JSON, of the module that made it
};

class Recording {
 public:
  static Result<std::unique_ptr<Recording>> Prepare(const RecordingOptions& options);
  // The freeze for the checkpoint: no task stands in the middle of a clock reading, which the log
  // could not tell.
  static Result<FrozenCgroup> FreezeForCheckpoint(const std::filesystem::path& cgroup);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  Result<std::vector<RecordingUndo>> Plan();
  // On an error everything is as before, and the container runs.
  Result<> Start(FrozenCgroup frozen);

  Result<FrozenCgroup> Freeze();
  Result<> Finish(FrozenCgroup frozen);

  RecordingState state() const;
  // From the end of Start() to now, or to the end.
  std::chrono::nanoseconds recorded_time() const;

 private:
  struct Impl;
  explicit Recording(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Idempotent; tolerates that the container is gone. Freezes it for a moment.
Result<> UndoRecording(const RecordingUndo& undo, const std::filesystem::path& cgroup);

// What makes this container, or any on this host, unfit for a recording, everything of
// InspectContainerTasks (recorder/preflight.h) included; changes nothing.
std::vector<Blocker> InspectForRecordingAll(int init_pid, const std::filesystem::path& cgroup);

}  // namespace migrate
