// The loader of capture.bpf.c: logs every input of the tasks of one container, in order, into a ring
// that the owner empties.
//
// Load() takes a tenth of a second (the kernel verifies the program) and touches no task. Attach()
// is called while the container is frozen; from Arm() on everything is logged, so that not one
// instruction lies between the freeze and the first event. Nothing in the container changes, and the
// kernel removes all of it when the object or its process dies. A problem (a full ring, a call that
// cannot be replayed) ends the recording with an EVENT_PROBLEM frame: stats() tells.
//
// One thread at a time, except Append(), SetClockSource(), Mute(), YieldAfterNextCall(), Disarm() and
// stats(), which any thread may call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "proto/capture_row.h"
#include "recorder/capture_shared.h"

namespace migrate {

struct CaptureOptions {
  int init_pid = 0;  // the tasks of its pid namespace are recorded
  std::span<const capture_row> rows;
  struct Command {
    capture_command key;
    uint32_t size;
  };
  std::vector<Command> commands;
  std::vector<outside_file> outside;  // pipes and unix sockets that lead out of the container
  size_t ring_bytes = size_t{64} << 20;  // a power of two
  bool log_own_copies = false;           // for tests: also what is read from replicated files
  bool log_input_bytes = false;          // also what write and send are given
};

struct CaptureStats {
  uint64_t events = 0;
  uint64_t bytes = 0;  // of frames
  uint64_t lost = 0;
  uint32_t tasks = 0;        // when attached
  uint32_t running_tid = 0;  // of the last event
  uint64_t clock_readings = 0;  // without a system call
  bool ended = false;        // by a problem
};

class Capture {
 public:
  // An error names what the kernel lacks, or what its verifier says.
  static Result<std::unique_ptr<Capture>> Load(const CaptureOptions& options);
  ~Capture();

  // Marks the tasks that exist; those born later are marked at their birth.
  Result<void> Attach();
  void Arm();
  // Stops logging; what is in the ring stays there.
  void Disarm();

  // Hands over every frame that is in the ring, in order, and returns how many. An error of the
  // sink ends it early: the frame counts as consumed.
  using Sink = std::function<Result<void>(std::span<const std::byte> frame)>;
  Result<size_t> Consume(const Sink& sink);

  // An event made in user space, placed between the captured ones: the order is only right while the
  // task that it belongs to is stopped, or the container frozen.
  Result<void> Append(const append_request& request);

  // Where a process keeps its clock readings; called while it is stopped. Gone with an exec; its
  // children have it as well.
  Result<void> SetClockSource(int tgid, const clock_source& source);

  // System calls of this task (id of the host; 0: of none) are not logged: they are made from outside.
  void Mute(int tid);

  // The task (id of the host) gets a SIGSTOP of the kernel at the end of its next system call, which
  // its tracer is to take away: the others get the CPU, exactly between two events.
  void YieldAfterNextCall(int tid);

  CaptureStats stats() const;

 private:
  struct State;
  explicit Capture(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace migrate
