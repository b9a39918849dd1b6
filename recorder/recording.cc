#include "recorder/recording.h"

#include <signal.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/limits.h"
#include "proto/event_frame.h"
#include "proto/syscall_table.h"
#include "recorder/beside_container.h"
#include "recorder/capture.h"
#include "recorder/control_stops.h"
#include "recorder/event_log_writer.h"
#include "recorder/outside_ends.h"
#include "recorder/record_preflight.h"
#include "recorder/serialize.h"
#include "recorder/starvation.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;

// How often the ring is emptied. The log lags behind by at most this and a chunk's age.
constexpr auto kConsumePause = std::chrono::milliseconds(4);

std::string ProblemText(uint32_t problem, uint32_t tid, uint64_t a, uint64_t b) {
  const SyscallRow* row = FindSyscall(static_cast<int>(a));
  const std::string call = row == nullptr ? "syscall " + std::to_string(a) : std::string(row->name);
  const std::string who = "task " + std::to_string(tid);
  switch (problem) {
    case PROBLEM_RING_FULL:
      return "events were lost: the ring was full; the log could not be written as fast as the "
             "container works (a faster disk, or --compression 0, may help)";
    case PROBLEM_REFUSED_SYSCALL:
      return who + " called " + call + ", which cannot be replayed" +
             (row == nullptr || row->note.empty() ? "" : ": " + std::string(row->note));
    case PROBLEM_UNKNOWN_SYSCALL:
      return who + " made system call " + std::to_string(a) + ", which this version does not know";
    case PROBLEM_FOREIGN_TASK:
      return "a process entered the container from outside (docker exec, or a health check)";
    case PROBLEM_SCHEDULING:
      return who + " changed its scheduling (" + call + "), which the order of the log rests on";
    case PROBLEM_TOO_LARGE:
      return who + ": " + call + " returned " + std::to_string(b) +
             " bytes at once, more than can "
             "be logged";
    case PROBLEM_UNREADABLE:
      return who + ": what " + call + " wrote could not be read";
    case PROBLEM_COMPAT_SYSCALL:
      return who + " made a 32-bit system call";
    case PROBLEM_SIGNAL_IN_COMPUTATION:
      return who + " got signal " + std::to_string(a) + " between two instructions";
    case PROBLEM_REFUSED_FILE:
      return who + " used a file that cannot be replayed (" + call + ")";
    case PROBLEM_STARVED:
      return who + " computed without a system call while other tasks of the container waited";
    case PROBLEM_CLOCKS:
      return who + ": " + std::to_string(a) + " clock readings were lost";
    case PROBLEM_UNPATCHED:
      return who + " ran a new program before its clocks could be recorded";
    default:
      return "problem " + std::to_string(problem);
  }
}

Result<std::vector<outside_file>> OutsideFiles(const RecordingOptions& options) {
  std::vector<outside_file> files;
  for (const OutsideEnd& end : TRY(FindOutsideEnds(options.init_pid, options.cgroup))) {
    if (end.kind != OutsideEnd::Kind::kMapping) {
      outside_file file{};
      file.is_socket = end.kind == OutsideEnd::Kind::kUnixSocket ? 1 : 0;
      file.inode = end.inode;
      files.push_back(file);
    }
  }
  return files;
}

}  // namespace

struct Recording::Impl {
  RecordingOptions options;
  std::unique_ptr<Capture> capture;
  std::unique_ptr<EventLogWriter> writer;
  std::unique_ptr<ControlStops> stops;
  std::unique_ptr<StarvationWatchdog> starvation;
  struct NewClocks {
    uint32_t tid = 0;
    ProcessClocks clocks;
  };
  std::vector<NewClocks> first_clocks;  // before the capture is armed
  bool armed = false;                   // of the thread that starts, and then of the tracer's
  std::optional<SerializeUndo> scheduling;
  bool serialized = false;
  std::atomic<bool> running = false;
  Clock::time_point start{};
  std::atomic<Clock::duration> recorded{};
  std::jthread consumer;

  mutable std::mutex mutex;
  std::string problem;                // guarded by mutex
  std::vector<std::string> warnings;  // guarded by mutex

  ~Impl();
  void Fail(const std::string& text);
  Result<> Drain();
  void Consume(const std::stop_token& stop);
  Result<> Mark(event_mark mark, uint32_t tid = 0, uint64_t first = 0, uint64_t second = 0);
  Result<> OnClocks(int host_tgid, uint32_t tid, const ProcessClocks& clocks);
  Result<> OnTsc(uint32_t tid, uint64_t reading, uint64_t ip, uint64_t aux);
  ControlStopsOptions StopsOptions();
  StarvationOptions WatchOptions();
  Result<> Start(FrozenCgroup frozen);
  Result<> PutBack(FrozenCgroup frozen);
  Result<> FreezeAndPutBack();
};

void Recording::Impl::Fail(const std::string& text) {
  const std::lock_guard lock(mutex);
  if (problem.empty()) {
    problem = text;
  }
}

// What is in the ring, into the log; a frame that tells of a problem ends the recording and does
// not go into the log.
Result<> Recording::Impl::Drain() {
  std::vector<std::byte> batch;
  const auto consumed = capture->Consume([&](std::span<const std::byte> frame) -> Result<void> {
    const auto* head = reinterpret_cast<const event_frame*>(frame.data());
    if (head->kind == EVENT_PROBLEM) {
      Event event;
      if (ParseFrame(frame, event).status == FrameStatus::kFrame) {
        Fail(ProblemText(event.number, event.tid, event.args[0], event.args[1]));
      }
      return {};
    }
    batch.insert(batch.end(), frame.begin(), frame.end());
    return {};
  });
  TRY(consumed);
  if (!batch.empty()) {
    TRY(writer->Append(batch));
  }
  const CaptureStats stats = capture->stats();
  if (stats.lost > 0) {
    Fail(ProblemText(PROBLEM_RING_FULL, 0, 0, 0));
  }
  return {};
}

void Recording::Impl::Consume(const std::stop_token& stop) {
  RunBesideContainer(scheduling->cpu);  // a busy host must not keep the ring from being emptied
  while (!stop.stop_requested()) {
    if (auto drained = Drain(); !drained) {
      capture->Disarm();
      Fail(drained.error().message);
    }
    if (const Result<> flushed = writer->FlushOlderThan(limits::kLogChunkAge); !flushed) {
      Fail(flushed.error().message);
    }
    bool failed = false;
    {
      const std::lock_guard lock(mutex);
      failed = !problem.empty();
    }
    if (failed) {
      break;
    }
    std::this_thread::sleep_for(kConsumePause);
  }
  recorded = Clock::now() - start;
  if (!stop.stop_requested()) {  // a problem: nobody has to wait for the end
    capture->Disarm();
    static_cast<void>(writer->Close());
    if (const Result<> undone = FreezeAndPutBack(); !undone) {
      Fail(undone.error().message);
    }
    running = false;
  }
}

Result<> Recording::Impl::Mark(event_mark mark, uint32_t tid, uint64_t first, uint64_t second) {
  append_request request{};
  request.kind = EVENT_MARK;
  request.number = mark;
  request.tid = tid;
  request.args[0] = first;
  request.args[1] = second;
  return capture->Append(request);
}

Result<> Recording::Impl::OnClocks(int host_tgid, uint32_t tid, const ProcessClocks& clocks) {
  if (clocks.region != 0) {
    TRY(capture->SetClockSource(host_tgid, {clocks.region, clocks.vdso, clocks.vdso_end, 0}));
  }
  if (!armed) {
    first_clocks.push_back({tid, clocks});
    return {};
  }
  return Mark(MARK_CLOCKS, tid, clocks.region, clocks.vdso);
}

Result<> Recording::Impl::OnTsc(uint32_t tid, uint64_t reading, uint64_t ip, uint64_t aux) {
  append_request request{};
  request.kind = EVENT_TSC;
  request.tid = tid;
  request.result = static_cast<int64_t>(reading);
  request.args[0] = ip;
  request.args[1] = aux;
  return capture->Append(request);
}

ControlStopsOptions Recording::Impl::StopsOptions() {
  ControlStopsOptions stops_options;
  stops_options.cgroup = options.cgroup;
  stops_options.cpu = scheduling->cpu;
  stops_options.clocks =
      options.slow_clocks || options.trap_tsc ? ClockStyle::kSystemCalls : ClockStyle::kRing;
  stops_options.trap_tsc = options.trap_tsc;
  stops_options.on_clocks = [this](int host_tgid, uint32_t tid, const ProcessClocks& clocks) {
    return OnClocks(host_tgid, tid, clocks);
  };
  stops_options.on_muted = [this](int tid) { capture->Mute(tid); };
  stops_options.on_tsc = [this](uint32_t tid, uint64_t reading, uint64_t ip, uint64_t aux) {
    return OnTsc(tid, reading, ip, aux);
  };
  stops_options.on_problem = [this](const std::string& text) {
    capture->Disarm();
    Fail(text);
  };
  return stops_options;
}

StarvationOptions Recording::Impl::WatchOptions() {
  StarvationOptions watch;
  watch.container_id = options.container_id;
  watch.init_pid = options.init_pid;
  watch.freezer_cgroup = options.cgroup;
  watch.cpu = scheduling->cpu;
  watch.progress = [this] { return capture->stats().events; };
  watch.on_turn_over = [this](pid_t tid) { capture->YieldAfterNextCall(tid); };
  watch.on_starved = [this](const Starvation& starved) {
    capture->Disarm();
    Fail("process " + std::to_string(starved.spinner) +
         (starved.without_syscalls ? " computed without a system call"
                                   : " kept the CPU with system calls that do not wait") +
         " while process " + std::to_string(starved.waiter) + " waited for " +
         std::to_string(starved.waited.count()) +
         " ms: recorded tasks share one CPU, and take turns only when they wait");
  };
  return watch;
}

// Frozen, or already thawed with all tasks in stops of the tracer.
Result<> Recording::Impl::PutBack(FrozenCgroup frozen) {
  starvation.reset();
  capture->Disarm();
  Result<> result;
  if (serialized) {
    result = UndoSerialize(*scheduling);
    serialized = !result;
  }
  if (stops) {
    const Result<> ended = stops->End(std::move(frozen));
    stops.reset();
    if (result) {
      result = ended;
    }
  }
  return result;
}

Result<> Recording::Impl::FreezeAndPutBack() {
  if (!serialized && !stops) {
    return {};
  }
  auto frozen = FrozenCgroup::Freeze(options.cgroup);
  return PutBack(frozen ? std::move(*frozen) : FrozenCgroup::None());
}

Result<> Recording::Impl::Start(FrozenCgroup frozen) {
  TRY(Serialize(*scheduling));
  serialized = true;
  stops = TRY(ControlStops::Begin(StopsOptions(), std::move(frozen)));
  TRY(capture->Attach());
  capture->Arm();
  TRY(Mark(MARK_START));
  for (const NewClocks& each : first_clocks) {
    TRY(Mark(MARK_CLOCKS, each.tid, each.clocks.region, each.clocks.vdso));
  }
  armed = true;
  starvation = TRY(StarvationWatchdog::Start(WatchOptions()));
  return {};
}

Recording::Impl::~Impl() {
  if (consumer.joinable()) {
    consumer.request_stop();
    consumer.join();
  }
  if (capture) {
    static_cast<void>(FreezeAndPutBack());
  }
}

Recording::Recording(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Recording::~Recording() = default;

Result<std::unique_ptr<Recording>> Recording::Prepare(const RecordingOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  const auto rows = CaptureRows();
  CaptureOptions capture;
  capture.init_pid = options.init_pid;
  capture.rows = rows;
  for (const CommandSize& command : CommandSizes()) {
    capture.commands.push_back({command.key, command.size});
  }
  capture.outside = TRY(OutsideFiles(options));
  capture.log_own_copies = options.log_own_copies;
  capture.log_input_bytes = options.log_input_bytes;
  capture.ring_bytes = options.ring_bytes;
  impl->capture = TRY(Capture::Load(capture));
  EventLogWriterOptions writer;
  writer.epoch = EpochOf(options.epoch);
  writer.compression_level = options.compression_level;
  std::vector<std::unique_ptr<LogSink>> sinks;
  sinks.push_back(TRY(FileLogSink::Create(options.log_path)));
  impl->writer = std::make_unique<EventLogWriter>(writer, std::move(sinks));
  return std::unique_ptr<Recording>(new Recording(std::move(impl)));
}

Result<FrozenCgroup> Recording::FreezeForCheckpoint(const std::filesystem::path& cgroup) {
  for (int i = 0; i < limits::kVdsoFreezeTries; ++i) {
    FrozenCgroup frozen = TRY(FrozenCgroup::Freeze(cgroup));
    if (TRY(TasksInsideVdso(TRY(CgroupTasks(cgroup)))).empty()) {
      return frozen;
    }
    TRY(frozen.Thaw());
  }
  return MakeError(ErrorCode::kFailedPrecondition,
                   "the container reads clocks all the time: no moment was found outside of it",
                   "NO_CHECKPOINT_MOMENT");
}

Result<std::vector<RecordingUndo>> Recording::Plan() {
  SerializeOptions serialize;
  serialize.init_pid = impl_->options.init_pid;
  serialize.container_id = impl_->options.container_id;
  serialize.freezer_cgroup = impl_->options.cgroup;
  serialize.cpu = impl_->options.cpu.value_or(-1);
  impl_->scheduling = TRY(PlanSerialize(serialize));
  return std::vector<RecordingUndo>{{RecordingUndo::Kind::kScheduling, impl_->scheduling->ToJson()},
                                    {RecordingUndo::Kind::kVdso, "{}"}};
}

Result<> Recording::Start(FrozenCgroup frozen) {
  Impl& impl = *impl_;
  if (const Result<> started = impl.Start(std::move(frozen)); !started) {
    static_cast<void>(impl.FreezeAndPutBack());
    return started;
  }
  impl.start = Clock::now();
  impl.running = true;
  impl.stops->Go();
  impl.consumer = std::jthread([&impl](const std::stop_token& stop) { impl.Consume(stop); });
  return {};
}

Result<FrozenCgroup> Recording::Freeze() { return FrozenCgroup::Freeze(impl_->options.cgroup); }

Result<> Recording::Finish(FrozenCgroup frozen) {
  Impl& impl = *impl_;
  impl.consumer.request_stop();
  impl.consumer.join();
  if (!impl.running) {
    return frozen.Thaw();  // it had ended by itself
  }
  impl.running = false;
  Result<> result = impl.Mark(MARK_END);
  if (result) {
    result = impl.Drain();
  }
  const Result<> put_back = impl.PutBack(std::move(frozen));
  const Result<> closed = impl.writer->Close();
  TRY(result);
  TRY(put_back);
  return closed;
}

RecordingState Recording::state() const {
  const Impl& impl = *impl_;
  const CaptureStats capture = impl.capture->stats();
  const EventLogWriterStats writer = impl.writer->stats();
  RecordingState state;
  state.running = impl.running;
  state.events = impl.writer->recorded_lsn();
  state.frame_bytes = writer.frame_bytes;
  state.stored_bytes = writer.stored_bytes;
  state.durable_lsn = impl.writer->durable_lsn();
  state.lost_events = capture.lost;
  state.tasks = capture.tasks;
  state.clock_readings = capture.clock_readings;
  state.held_signals = impl.stops ? impl.stops->stats().held_signals : 0;
  state.cpu = impl.scheduling ? impl.scheduling->cpu : -1;
  const std::lock_guard lock(impl.mutex);
  state.problem = impl.problem;
  state.warnings = impl.warnings;
  return state;
}

std::chrono::nanoseconds Recording::recorded_time() const {
  if (impl_->start == Clock::time_point()) {
    return {};
  }
  return impl_->running ? Clock::now() - impl_->start : impl_->recorded.load();
}

std::vector<Blocker> InspectForRecordingAll(int init_pid, const std::filesystem::path& cgroup) {
  std::vector<Blocker> blockers = InspectForRecording(init_pid, cgroup);
  for (Blocker& blocker : InspectKernelForRecording()) {
    blockers.push_back(std::move(blocker));
  }
  SerializeOptions serialize;
  serialize.init_pid = init_pid;
  serialize.freezer_cgroup = cgroup;
  for (Blocker& blocker : CheckSerialize(serialize).blockers) {
    blockers.push_back(std::move(blocker));
  }
  return blockers;
}

}  // namespace migrate
