#include "migrated/recordings.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/scope_exit.h"
#include "base/stop_wait.h"
#include "migrated/compatibility.h"
#include "migrated/container_processes.h"
#include "migrated/container_watch.h"
#include "migrated/host_undo.h"
#include "migrated/local_tree.h"
#include "migrated/preflight.h"
#include "migrated/registry.h"
#include "migrated/watchdog.h"
#include "recorder/checkpoint.h"
#include "recorder/preflight.h"
#include "recorder/recording.h"
#include "recorder/watched_paths.h"

namespace migrate {

using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kShowInterval = std::chrono::milliseconds(100);
constexpr auto kStopTakes = std::chrono::seconds(12);  // `docker stop` kills after 10
constexpr auto kDeletionTakes = std::chrono::seconds(2);
constexpr auto kEndPoll = std::chrono::milliseconds(5);  // a restart makes the same cgroup again
constexpr std::uint64_t kFilesSmallEnough = 256 * 1024;
constexpr int kFileRounds = 3;
constexpr int kBundleVersion = 1;

std::uint64_t Microseconds(Clock::duration duration) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

v1::UndoItem::Kind KindOf(RecordingUndo::Kind kind) {
  switch (kind) {
    case RecordingUndo::Kind::kScheduling:
      return v1::UndoItem::SCHEDULING;
    case RecordingUndo::Kind::kVdso:
      return v1::UndoItem::VDSO;
    case RecordingUndo::Kind::kTsc:
      return v1::UndoItem::TSC;
  }
  return v1::UndoItem::KIND_UNSPECIFIED;
}

v1::Blocker ToProto(const Blocker& blocker) {
  v1::Blocker proto;
  proto.set_code(blocker.code);
  proto.set_subject(blocker.subject);
  proto.set_detail(blocker.detail);
  proto.set_remedy(blocker.remedy);
  return proto;
}

// The directory that the operator named: absolute, and empty, so that nothing of his is mixed up.
Result<> PrepareDirectory(const std::string& directory) {
  if (directory.empty() || directory.front() != '/') {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "the directory for a recording must be an absolute path, not '" + directory + "'");
  }
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error || !std::filesystem::is_directory(directory)) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "cannot make the directory " + directory + ": " +
                         (error ? error.message() : "something else has this name"),
                     "NO_DIRECTORY");
  }
  if (!std::filesystem::is_empty(directory, error) || error) {
    return MakeError(ErrorCode::kAlreadyExists,
                     directory + " is not empty: name another directory, or empty this one",
                     "DIRECTORY_NOT_EMPTY");
  }
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  return {};
}

}  // namespace

// One call of Run(): the steps in their order, and what has to be put back.
class RecordingRun {
 public:
  RecordingRun(Node& node, const v1::RecordRequest& request, const Recordings::Show& show)
      : node_(node), request_(request), show_(show), directory_(request.directory()) {}

  // `ending` is also asked to stop by what somebody does to the container meanwhile.
  Result<> Run(const ContainerInfo& container, std::stop_source ending);
  v1::Recording& view() { return view_; }

 private:
  Result<> Inspect();
  Result<> Record(const std::stop_token& stop);
  bool IsStopping();
  bool WaitForItsEnd();
  void LeavePaused();
  Result<> CopyFilesWhileRunning(const std::stop_token& stop);
  Result<> Begin();
  Result<> CheckpointAndStart(const std::stop_token& stop);
  Result<> RunCheckpoint();
  Result<> Journal();
  Result<> Wait(const std::stop_token& stop);
  Result<> End();
  Result<> WriteBundle();
  Result<> PutBack();
  void Show(v1::RecordingState state);
  void Refresh();

  Node& node_;
  const v1::RecordRequest& request_;
  const Recordings::Show& show_;
  const std::string directory_;
  v1::Recording view_;
  std::unique_ptr<ContainerWatch> watch_;
  ContainerInfo container_;
  ContainerSpec spec_;
  std::string cgroup_;
  std::vector<std::string> watched_paths_;
  v1::MigrationRecord record_;
  bool journaled_ = false;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<Recording> recording_;
  std::vector<ShippedTree> trees_;
  std::vector<std::unique_ptr<LocalTreeCopy>> copies_;
  Clock::time_point last_shown_{};
  std::uint64_t last_events_ = 0;
};

void RecordingRun::Refresh() {
  if (!recording_) {
    return;
  }
  const RecordingState state = recording_->state();
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - last_shown_).count();
  if (last_shown_ != Clock::time_point() && seconds > 0) {
    view_.set_events_per_second(static_cast<double>(state.events - last_events_) / seconds);
  }
  last_shown_ = now;
  last_events_ = state.events;
  view_.set_events(state.events);
  view_.set_bytes(state.frame_bytes);
  view_.set_bytes_compressed(state.stored_bytes);
  view_.set_durable_lsn(state.durable_lsn);
  view_.set_lost_events(state.lost_events);
  view_.set_tasks(state.tasks);
  view_.set_cpu(state.cpu);
  view_.set_held_signals(state.held_signals);
  view_.set_clock_readings(state.clock_readings);
  view_.set_recorded_ms(
      std::chrono::duration<double, std::milli>(recording_->recorded_time()).count());
  view_.clear_warnings();
  for (const std::string& warning : state.warnings) {
    view_.add_warnings(warning);
  }
  if (!state.problem.empty()) {
    view_.set_problem(state.problem);
  }
}

void RecordingRun::Show(v1::RecordingState state) {
  view_.set_state(state);
  Refresh();
  show_(view_);
}

Result<> RecordingRun::Inspect() {
  container_ = TRY(node_.docker().InspectContainer(request_.container()));
  view_.set_container_id(container_.id);
  view_.set_container_name(container_.name);
  view_.set_directory(directory_);
  if (!container_.running || container_.paused || container_.pid <= 0) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "container " + container_.name + " is " +
                         (container_.paused ? "paused" : container_.status) +
                         ": only a running container can be recorded",
                     "CONTAINER_NOT_RUNNING");
  }
  spec_ = TRY(BuildSpec(node_.docker(), container_.id));
  cgroup_ = TRY(FindFreezerCgroup(container_.pid, container_.id));
  std::vector<v1::Blocker> blockers;
  for (const Blocker& blocker : InspectForRecordingAll(container_.pid, cgroup_)) {
    blockers.push_back(ToProto(blocker));
  }
  if (blockers.empty()) {
    return {};
  }
  for (const v1::Blocker& blocker : blockers) {
    *view_.add_blockers() = blocker;
  }
  return BlockersError(blockers);
}

// The bulk of the files is copied while the container runs; under the freeze only what has changed.
Result<> RecordingRun::CopyFilesWhileRunning(const std::stop_token& stop) {
  if (request_.without_files()) {
    return {};
  }
  v1::MigrationOptions options;
  options.set_bind_mounts(v1::BIND_MOUNTS_COPY);
  trees_ = TRY(ContainerTrees(node_, container_, spec_, options));
  std::erase_if(trees_, [](const ShippedTree& tree) { return tree.kind == v1::TreeName::LOGS; });
  for (std::size_t i = 0; i < trees_.size(); ++i) {
    copies_.push_back(TRY(LocalTreeCopy::Create(
        trees_[i].path, directory_ + "/files/" + std::to_string(i), trees_[i].excludes)));
    for (int round = 0; round < kFileRounds; ++round) {
      if (TRY(copies_.back()->Round(false, stop)) < kFilesSmallEnough) {
        break;
      }
    }
  }
  return {};
}

Result<> RecordingRun::Begin() {
  TRY(PrepareDirectory(directory_));
  RecordingOptions options;
  options.epoch = view_.id();
  options.container_id = container_.id;
  options.init_pid = container_.pid;
  options.cgroup = cgroup_;
  options.log_path = directory_ + "/events.log";
  if (request_.cpu_plus_one() > 0) {
    options.cpu = request_.cpu_plus_one() - 1;
  }
  options.slow_clocks = request_.slow_clocks();
  options.trap_tsc = request_.trap_tsc();
  options.log_own_copies = request_.log_own_copies();
  options.log_input_bytes = request_.log_input_bytes();
  if (request_.compression_level() != 0) {
    options.compression_level = std::max(0, request_.compression_level());
  }
  recording_ = TRY(Recording::Prepare(options));
  const WatchedPaths watches = TRY(FindWatchedPaths(container_.pid, TRY(CgroupProcesses(cgroup_))));
  watched_paths_ = watches.found;
  return {};
}

Result<> RecordingRun::RunCheckpoint() {
  CheckpointOptions options;
  options.container_id = container_.id;
  options.exec_root = node_.config().docker_exec_root;
  options.runc = node_.config().runc;
  options.criu_path = TRY(node_.CriuProgram());
  options.watched_paths = watched_paths_;
  options.image_dir = directory_ + "/image";
  options.work_dir = directory_ + "/criu";
  TRY(Checkpoint(options));
  return {};
}

// All that Start() will change, in one write, before the first of it is done.
Result<> RecordingRun::Journal() {
  for (const RecordingUndo& undo : TRY(recording_->Plan())) {
    v1::UndoItem* item = record_.add_undo();
    item->set_kind(KindOf(undo.kind));
    item->set_name(cgroup_);
    item->set_detail(undo.value);
  }
  // Undone from the end: the container goes on first.
  v1::UndoItem* frozen = record_.add_undo();
  frozen->set_kind(v1::UndoItem::FROZEN_CGROUP);
  frozen->set_name(cgroup_);
  record_.mutable_undo()->DeleteSubrange(0, 1);  // the freeze alone, written before it
  return node_.journal().Put(record_);
}

Result<> RecordingRun::CheckpointAndStart(const std::stop_token& stop) {
  record_.set_recording(true);
  record_.mutable_migration()->set_id(view_.id());
  record_.mutable_migration()->set_container_id(container_.id);
  v1::UndoItem* frozen_item = record_.add_undo();
  frozen_item->set_kind(v1::UndoItem::FROZEN_CGROUP);
  frozen_item->set_name(cgroup_);
  TRY(node_.journal().Put(record_));
  journaled_ = true;
  watchdog_ =
      TRY(Watchdog::Start({Watchdog::DefaultProgram(), node_.config().state_dir, view_.id()}));
  TRY(WaitForExecsToEnd(container_.pid, cgroup_));

  const auto freeze_start = Clock::now();
  FrozenCgroup frozen = TRY(Recording::FreezeForCheckpoint(cgroup_));
  for (const auto& copy : copies_) {
    TRY(copy->Round(true, stop));
  }
  TRY(RunCheckpoint());
  if (stop.stop_requested()) {
    return MakeError(ErrorCode::kCancelled, "cancelled");
  }
  TRY(Journal());
  TRY(recording_->Start(std::move(frozen)));
  view_.set_t0_freeze_us(Microseconds(Clock::now() - freeze_start));
  return {};
}

Result<> RecordingRun::Wait(const std::stop_token& stop) {
  const auto end = Clock::now() + std::chrono::milliseconds(request_.duration_ms());
  for (;;) {
    Show(v1::RECORDING_RUNNING);
    if (!recording_->state().running) {
      return {};
    }
    auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(kShowInterval);
    if (request_.duration_ms() > 0) {
      pause = std::min(pause, std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()));
    }
    if (pause.count() <= 0 || WaitForStop(stop, pause)) {
      return {};
    }
  }
}

Result<> RecordingRun::End() {
  Show(v1::RECORDING_STOPPING);
  const auto freeze_start = Clock::now();
  auto frozen = recording_->Freeze();
  if (!frozen) {
    return frozen.error();
  }
  TRY(recording_->Finish(std::move(*frozen)));
  view_.set_final_freeze_us(Microseconds(Clock::now() - freeze_start));
  return {};
}

// Puts back whatever is still changed: after a failure, or nothing after Finish().
Result<> RecordingRun::PutBack() {
  if (!journaled_) {
    return {};
  }
  Result<> result;
  for (int i = record_.undo_size() - 1; i >= 0; --i) {
    const auto undone = UndoOnHost(node_, record_.undo(i));
    if (!undone && result) {
      result = undone.error();
    }
  }
  watchdog_.reset();
  TRY(result);
  return node_.journal().EraseRecording(view_.id());
}

// What a replay on another host needs to know; the rest is in the files beside it.
Result<> RecordingRun::WriteBundle() {
  utsname host{};
  uname(&host);
  nlohmann::ordered_json bundle;
  bundle["version"] = kBundleVersion;
  bundle["id"] = view_.id();
  bundle["migrate"] = MIGRATE_VERSION;
  bundle["kernel"] = host.release;
  bundle["container"] = {{"id", container_.id},
                         {"name", container_.name},
                         {"image", container_.image_name},
                         {"init_pid", container_.pid}};
  bundle["cpu"] = view_.cpu();
  bundle["events"] = view_.events();
  bundle["recorded_ms"] = view_.recorded_ms();
  bundle["problem"] = view_.problem();
  bundle["slow_clocks"] = request_.slow_clocks();
  for (std::size_t i = 0; i < trees_.size(); ++i) {
    bundle["trees"].push_back({{"kind", v1::TreeName::Kind_Name(trees_[i].kind)},
                               {"name", trees_[i].name},
                               {"mount_point", trees_[i].mount_point},
                               {"directory", "files/" + std::to_string(i)}});
  }
  bundle["spec"] = nlohmann::json::parse(SpecToJson(spec_));
  const Result<> written =
      WriteFileAtomically(directory_ + "/recording.json", bundle.dump(2) + "\n");
  if (!written && !view_.problem().empty()) {
    spdlog::warn("recording {}: recording.json: {}", view_.id(), written.error().message);
    return {};  // the first problem, e.g. a full disk, says more
  }
  return written;
}

Result<> RecordingRun::Record(const std::stop_token& stop) {
  watch_->Enter("checkpoint", /*frozen=*/true);
  Show(v1::RECORDING_CHECKPOINT);
  TRY(CheckpointAndStart(stop));
  watch_->Enter("recording", /*frozen=*/false);
  TRY(Wait(stop));
  if (IsStopping() && WaitForItsEnd()) {
    return MakeError(ErrorCode::kAborted, "the container has ended");  // the watch says why
  }
  return End();
}

// Asked to stop, or killed, by somebody; it may take its time, or not do it at all.
bool RecordingRun::IsStopping() {
  const auto event = watch_->Happened();
  return event && (event->reason == "CONTAINER_STOPPED" || event->reason == "CONTAINER_ENDED" ||
                   event->reason == "CONTAINER_REMOVED");
}

// runc does not delete a container that is frozen: then Docker forgets it, and its shim and its
// cgroups stay for ever. So nothing is frozen before the container is gone, cgroup and all. False:
// it does not end.
bool RecordingRun::WaitForItsEnd() {
  const auto wait_until = [](auto condition, auto limit) {
    const auto deadline = Clock::now() + limit;
    while (!condition() && Clock::now() < deadline) {
      std::this_thread::sleep_for(kEndPoll);
    }
    return condition();
  };
  if (!wait_until([&] { return watch_->HasEnded(); }, kStopTakes)) {
    return false;
  }
  std::error_code error;
  wait_until([&] { return !std::filesystem::exists(cgroup_, error); }, kDeletionTakes);
  return true;
}

// By Docker: what has thawed the container at the end was not meant for that.
void RecordingRun::LeavePaused() {
  if (auto frozen = FrozenCgroup::Freeze(cgroup_)) {
    frozen->Release();
  } else {
    spdlog::error("recording {}: {} is not paused any more: {}", view_.id(), container_.name,
                  frozen.error().message);
  }
}

Result<> RecordingRun::Run(const ContainerInfo& container, std::stop_source ending) {
  watch_ = std::make_unique<ContainerWatch>(node_, container.id, container.name,
                                            [ending]() mutable { ending.request_stop(); });
  watch_->Enter("preflight", /*frozen=*/false);
  Show(v1::RECORDING_PREFLIGHT);
  TRY(Inspect());
  TRY(Begin());
  TRY(CopyFilesWhileRunning(ending.get_token()));
  Result<> result = Record(ending.get_token());
  Refresh();
  const bool started = recording_->recorded_time().count() > 0;
  recording_.reset();
  const Result<> put_back = PutBack();
  auto interference = watch_->Explain();
  if (IsStopping() && !watch_->HasEnded()) {
    interference.reset();  // it has other plans with that signal
  }
  if (watch_->IsPaused()) {
    LeavePaused();
  }
  if (interference) {
    TRY(put_back);
    if (!started) {
      return *interference;
    }
    view_.set_problem(interference->message);  // more than what it has led to
    return WriteBundle();
  }
  TRY(result);
  TRY(put_back);
  return WriteBundle();
}

Result<> Recordings::Run(const v1::RecordRequest& request, const std::stop_token& stop,
                         const Show& show) {
  const ContainerInfo container = TRY(node_.docker().InspectContainer(request.container()));
  TRY(registry_.BeginRecording(container.id, container.name));
  const ScopeExit leave([&] { registry_.EndRecording(container.id); });
  RecordingRun run(node_, request, show);
  const std::string id = NewMigrationId();
  run.view().set_id(id);
  std::stop_source ending;
  const std::stop_callback cancelled(stop, [&] { ending.request_stop(); });
  {
    const std::lock_guard lock(mutex_);
    running_[id] = ending;
  }
  Result<> result = run.Run(container, ending);
  {
    const std::lock_guard lock(mutex_);
    running_.erase(id);
  }
  if (result && !run.view().problem().empty()) {
    result = MakeError(ErrorCode::kFailedPrecondition,
                       "the recording ended before its time: " + run.view().problem(),
                       "RECORDING_ENDED");
  }
  if (!result && run.view().problem().empty()) {
    run.view().set_problem(result.error().message);
  }
  run.view().set_state(result ? v1::RECORDING_DONE : v1::RECORDING_FAILED);
  show(run.view());
  if (!result) {
    spdlog::warn("recording {} of {}: {}", run.view().id(), container.name, result.error().message);
  }
  return result;
}

Result<> Recordings::Stop(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  if (found == running_.end()) {
    return MakeError(ErrorCode::kNotFound, "no recording " + id + " is under way",
                     "UNKNOWN_RECORDING");
  }
  found->second.request_stop();
  return {};
}

Result<> Recordings::Recover() {
  for (const v1::MigrationRecord& record : TRY(node_.journal().Recordings())) {
    Result<> result;
    for (int i = record.undo_size() - 1; i >= 0; --i) {
      const auto undone = UndoOnHost(node_, record.undo(i));
      if (!undone) {
        spdlog::error("recording {}: {}", record.migration().id(), undone.error().message);
        result = undone.error();
      }
    }
    if (result) {
      spdlog::info("recording {}: put back what a daemon that died had changed",
                   record.migration().id());
      TRY(node_.journal().EraseRecording(record.migration().id()));
    }
  }
  return {};
}

}  // namespace migrate
