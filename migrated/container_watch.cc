#include "migrated/container_watch.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <charconv>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file_util.h"
#include "base/stop_wait.h"
#include "migrated/container_processes.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kInitPoll = 200ms;        // finds an end that Docker does not tell of
constexpr auto kDockerTells = 1s;        // after the end of the container
constexpr auto kRemovalFollows = 500ms;  // the last event of `docker rm -f`
constexpr auto kRestartFollows = 2s;     // after the end of the container
constexpr auto kKeepDownTimeout = 60s;
constexpr auto kKeepDownPoll = 200ms;
constexpr auto kEnginePoll = 10ms;

int ToInt(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::string KilledText(const std::string& name) {
  return "container " + name + " was killed by somebody (docker kill, or docker rm -f)";
}

// A process in a frozen v1 cgroup does not die of it before the thaw, and Docker's event may still
// be on its way.
bool HasPendingSigkill(int pid) {
  const auto status = ReadSmallFile("/proc/" + std::to_string(pid) + "/status");
  std::uint64_t pending = 0;
  for (const std::string_view field : {"\nSigPnd:\t", "\nShdPnd:\t"}) {
    const auto at = status ? status->find(field) : std::string::npos;
    std::uint64_t mask = 0;
    if (at != std::string::npos) {
      const char* begin = status->data() + at + field.size();
      std::from_chars(begin, status->data() + status->size(), mask, 16);
    }
    pending |= mask;
  }
  return (pending & (std::uint64_t{1} << (SIGKILL - 1))) != 0;
}

int StopSignalOf(const ContainerInfo& info) {
  const auto json = nlohmann::json::parse(info.raw_json, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) {
    const auto config = json.find("Config");
    if (config != json.end() && config->is_object()) {
      const auto found = config->find("StopSignal");
      if (found != config->end() && found->is_string()) {
        return SignalNumber(found->get<std::string>());
      }
    }
  }
  return SIGTERM;
}

std::optional<Interference> JudgeKill(const DockerEvent& event, const WatchedContainer& container) {
  const int number = ToInt(event.Attribute("signal"));
  const std::string who = "container " + container.name;
  if (number == SIGKILL) {
    return Interference{"CONTAINER_STOPPED", KilledText(container.name)};
  }
  if (number == SIGTERM || number == container.stop_signal) {
    return Interference{"CONTAINER_STOPPED", who + " was stopped by somebody (docker stop)"};
  }
  if (container.frozen) {
    return Interference{"CONTAINER_SIGNALLED", who + " was sent signal " + std::to_string(number) +
                                                   " by somebody (docker kill)"};
  }
  return std::nullopt;
}

std::optional<Interference> JudgeNetworkEvent(const DockerEvent& event,
                                              const WatchedContainer& container) {
  if (event.Attribute("container") != container.id ||
      (event.action != "connect" && event.action != "disconnect")) {
    return std::nullopt;
  }
  return Interference{"CONTAINER_CHANGED", "container " + container.name + " was " + event.action +
                                               "ed " + (event.action == "connect" ? "to" : "from") +
                                               " network " + event.Attribute("name") +
                                               " by somebody"};
}

Error ToError(const Interference& interference, const std::string& where) {
  return MakeError(ErrorCode::kAborted, interference.text + where, interference.reason);
}

}  // namespace

int SignalNumber(std::string_view text) {
  if (text.starts_with("SIG")) {
    text.remove_prefix(3);
  }
  if (const int number = ToInt(text); number > 0) {
    return number;
  }
  for (int number = 1; number < NSIG; ++number) {
    const char* name = sigabbrev_np(number);
    if (name != nullptr && text == name) {
      return number;
    }
  }
  return SIGTERM;
}

std::optional<Interference> JudgeEvent(const DockerEvent& event,
                                       const WatchedContainer& container) {
  if (event.type == "network") {
    return JudgeNetworkEvent(event, container);
  }
  if (event.type != "container" || event.actor_id != container.id) {
    return std::nullopt;
  }
  const std::string who = "container " + container.name;
  if (event.action == "kill") {
    return JudgeKill(event, container);
  }
  if (event.action == "die") {
    return Interference{"CONTAINER_ENDED",
                        who + " ended by itself (exit code " + event.Attribute("exitCode") + ")"};
  }
  if (event.action == "destroy") {
    return Interference{"CONTAINER_REMOVED", who + " was removed by somebody (docker rm)"};
  }
  if (event.action == "rename") {
    return Interference{"CONTAINER_RENAMED", who + " was renamed to " + event.Attribute("name") +
                                                 " by somebody (docker rename)"};
  }
  if (event.action == "pause") {
    return Interference{"CONTAINER_PAUSED", who + " was paused by somebody (docker pause)"};
  }
  if (event.action == "update") {
    return Interference{"CONTAINER_CHANGED",
                        "the limits of " + who + " were changed by somebody (docker update)"};
  }
  return std::nullopt;
}

ContainerWatch::ContainerWatch(Node& node, std::string container_id, std::string name,
                               std::function<void()> on_interference)
    : node_(node), on_interference_(std::move(on_interference)) {
  container_.id = std::move(container_id);
  container_.name = std::move(name);
  subscription_ =
      node_.docker_events().Subscribe([this](const DockerEvent& event) { OnEvent(event); });
  if (const auto info = node_.docker().InspectContainer(container_.id); info && info->pid > 0) {
    const std::lock_guard lock(mutex_);
    container_.stop_signal = StopSignalOf(*info);
    paused_ = info->paused;
    if (const auto start_time = StartTimeOf(info->pid)) {
      init_pid_ = info->pid;
      init_start_time_ = *start_time;
    }
  }
  poll_ = std::jthread([this](const std::stop_token& stop) { Poll(stop); });
}

ContainerWatch::~ContainerWatch() { subscription_.Reset(); }

bool ContainerWatch::InitIsGone() const {
  if (init_pid_ == 0) {
    return false;
  }
  const auto start_time = StartTimeOf(init_pid_);
  return !start_time || *start_time != init_start_time_;
}

void ContainerWatch::Poll(const std::stop_token& stop) {
  while (!WaitForStop(stop, kInitPoll)) {
    if (!InitIsGone()) {
      continue;
    }
    // Docker tells more, if it is there.
    if (!WaitForStop(stop, kDockerTells)) {
      std::unique_lock lock(mutex_);
      const std::string text = stream_broken_
                                   ? "container " + container_.name + " ended when Docker did"
                                   : "container " + container_.name + " ended";
      lock.unlock();
      Set({"CONTAINER_ENDED", text});
    }
    return;
  }
}

void ContainerWatch::OnEvent(const DockerEvent& event) {
  std::optional<Interference> interference;
  {
    const std::lock_guard lock(mutex_);
    if (event.type == kStream) {
      stream_broken_ = event.action == kStreamBroken;
      return;
    }
    const bool ours = event.actor_id == container_.id;
    if (committed_) {
      kills_after_commit_ += ours && event.action == "kill" ? 1 : 0;
      started_after_commit_ = started_after_commit_ || (ours && event.action == "start");
      changed_.notify_all();
      return;
    }
    interference = JudgeEvent(event, container_);
    if (ours && event.action == "destroy") {
      removed_ = true;
      if (interference_) {
        interference_ = interference;  // says more than the kill that came first
      }
      changed_.notify_all();
    }
  }
  if (interference) {
    Set(*std::move(interference));
  }
}

void ContainerWatch::Set(Interference interference) {
  {
    const std::lock_guard lock(mutex_);
    if (interference_ || committed_) {
      return;
    }
    interference_ = std::move(interference);
    where_ = " during the " + phase_;
    changed_.notify_all();
  }
  on_interference_();
}

void ContainerWatch::Enter(const StepRow& row) {
  const std::lock_guard lock(mutex_);
  container_.frozen = row.may_run == MayRun::kNobody;
  committed_ = row.may_run == MayRun::kTarget;
  phase_ = PhaseName(row.phase);
}

void ContainerWatch::Enter(std::string phase, bool frozen) {
  const std::lock_guard lock(mutex_);
  container_.frozen = frozen;
  phase_ = std::move(phase);
}

std::optional<Error> ContainerWatch::ErrorLocked() const {
  if (!interference_) {
    return std::nullopt;
  }
  return ToError(*interference_, where_);
}

std::optional<Error> ContainerWatch::Happened() {
  const std::lock_guard lock(mutex_);
  return ErrorLocked();
}

std::optional<Error> ContainerWatch::Explain() {
  std::unique_lock lock(mutex_);
  if (InitIsGone()) {
    // Nothing waits for the container any more, so there is time to hear what became of it.
    changed_.wait_for(lock, kDockerTells, [this] { return interference_.has_value(); });
    changed_.wait_for(lock, kRemovalFollows, [this] { return removed_; });
    if (!interference_) {
      interference_ = Interference{"CONTAINER_ENDED", "container " + container_.name + " ended"};
      where_ = " during the " + phase_;
    }
  }
  return ErrorLocked();
}

Result<> ContainerWatch::CheckBeforeCommit() {
  const auto event = Happened();
  if (event || InitIsGone()) {
    const auto error = event ? event : Explain();
    return error ? Result<>(*error) : Result<>();
  }
  if (HasPendingSigkill(init_pid_)) {
    const std::lock_guard lock(mutex_);
    return ToError({"CONTAINER_STOPPED", KilledText(container_.name)}, " during the " + phase_);
  }
  return {};
}

bool ContainerWatch::IsPaused() {
  const std::lock_guard lock(mutex_);
  return paused_ || (interference_ && interference_->reason == "CONTAINER_PAUSED");
}

Result<> ContainerWatch::KeepDown() {
  bool started = false;
  std::string id;
  {
    std::unique_lock lock(mutex_);
    id = container_.id;
    if (kills_after_commit_ > 0) {
      changed_.wait_for(lock, kRestartFollows, [this] { return started_after_commit_; });
    }
    started = started_after_commit_;
  }
  return started ? KeepContainerDown(node_, id) : Result<>();
}

Result<> KeepContainerDown(Node& node, const std::string& container_id) {
  const auto until = Clock::now() + kKeepDownTimeout;
  Result<> last;
  while (Clock::now() < until) {
    const auto info = node.docker().InspectContainer(container_id);
    if (!info && info.error().code == ErrorCode::kNotFound) {
      return {};
    }
    if (info && !info->running && !info->restarting) {
      return info->restart_policy == RestartPolicy{}
                 ? Result<>()
                 : node.docker().UpdateRestartPolicy(container_id, RestartPolicy{});
    }
    if (info && info->pid > 0 && !StartTimeOf(info->pid)) {
      // It has ended; the engine is about to notice.
      std::this_thread::sleep_for(kEnginePoll);
      continue;
    }
    if (info) {
      spdlog::warn("container {} was started again after it had moved away: ending it",
                   container_id.substr(0, 12));
      // The policy first, or the engine starts it again.
      last = node.docker().UpdateRestartPolicy(container_id, RestartPolicy{});
      if (last) {
        last = node.docker().KillContainer(container_id, "KILL");
      }
    } else {
      last = info.error();
    }
    std::this_thread::sleep_for(kKeepDownPoll);
  }
  return last ? MakeError(ErrorCode::kDeadlineExceeded,
                          "container " + container_id.substr(0, 12) + " does not end")
              : last.error();
}

std::optional<Interference> JudgeReplicaEvent(const DockerEvent& event,
                                              const std::string& replica_id,
                                              const std::string& name, bool restoring) {
  if (event.type != "container" || event.actor_id != replica_id) {
    return std::nullopt;
  }
  const std::string who = "the half-made replica of " + name + " was ";
  if (event.action == "destroy") {
    return Interference{"REPLICA_REMOVED", who + "removed by somebody (docker rm)"};
  }
  if (event.action == "kill") {
    return Interference{"REPLICA_STOPPED",
                        who + "stopped by somebody (docker stop, kill or rm -f)"};
  }
  if (event.action == "rename" && event.Attribute("name") != name) {
    return Interference{"REPLICA_RENAMED", who + "renamed by somebody (docker rename)"};
  }
  if (event.action == "start" && !restoring) {
    return Interference{"REPLICA_STARTED", who + "started by somebody (docker start)"};
  }
  return std::nullopt;
}

ReplicaWatch::ReplicaWatch(DockerEvents& events, std::string replica_id, std::string name,
                           std::function<void(const Error&)> on_interference) {
  subscription_ = events.Subscribe([this, id = std::move(replica_id), name = std::move(name),
                                    tell = std::move(on_interference)](const DockerEvent& event) {
    const auto found = JudgeReplicaEvent(event, id, name, restoring_);
    if (found && !done_.exchange(true)) {
      tell(ToError(*found, " at the target"));
    }
  });
}

}  // namespace migrate
