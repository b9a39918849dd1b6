#include "recorder/checkpoint.h"

#include <signal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/ids.h"
#include "base/subprocess.h"
#include "recorder/preflight.h"
#include "recorder/watched_paths.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

Result<> CheckOptions(const CheckpointOptions& options) {
  if (!IsContainerId(options.container_id)) {
    return MakeError(ErrorCode::kInvalidArgument, "not a container id: " + options.container_id);
  }
  for (const fs::path& path : {options.exec_root, options.image_dir, options.work_dir}) {
    if (!path.is_absolute()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "not an absolute path: '" + path.string() + "'");
    }
  }
  for (const auto* lines : {&options.watched_paths, &options.criu_config_extra}) {
    for (const std::string& line : *lines) {
      if (line.find('\n') != std::string::npos) {
        return MakeError(ErrorCode::kInvalidArgument, "line break in a CRIU option: " + line);
      }
    }
  }
  return {};
}

// CRIU splits at blanks and takes quotes.
std::string ConfigQuoted(const std::string& value) {
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + "\"";
}

std::string CriuConfig(const CheckpointOptions& options, const WatchedPaths& watched) {
  std::string text =
      "network-lock skip\n"  // ours, if any, is the caller's; CRIU's is left behind when it dies
      "ghost-limit 1G\n"     // unlinked but open files travel in the image
      "force-irmap\n";       // file handles mean nothing on another host, paths do
  if (options.skip_in_flight_connections) {
    text += "skip-in-flight\n";
  }
  for (const std::string& path : watched.found) {
    text += "irmap-scan-path " + ConfigQuoted(path) + "\n";
  }
  for (const std::string& line : options.criu_config_extra) {
    text += line + "\n";
  }
  return text;
}

// The processes that a signal has stopped. In a frozen v1 cgroup everything is in state D, but what
// a task waits for tells.
std::vector<int> StoppedProcesses(const fs::path& cgroup) {
  std::vector<int> stopped;
  for (const int pid : CgroupProcesses(cgroup).value_or(std::vector<int>())) {
    const auto wchan = ReadSmallFile("/proc/" + std::to_string(pid) + "/wchan");
    if (wchan && *wchan == "do_signal_stop") {
      stopped.push_back(pid);
    }
  }
  return stopped;
}

int PidInContainer(int pid) {
  const auto status = ReadSmallFile("/proc/" + std::to_string(pid) + "/status");
  static const std::regex kInnermost(R"(\nNSpid:[^\n]*\s(\d+)\n)");
  std::smatch match;
  return status && std::regex_search(*status, match, kInnermost) ? std::stoi(match[1]) : 0;
}

// Attaching to a task that is both stopped and frozen by the v1 freezer never returns: the kernel
// wants the task to change from stopped to traced, and it cannot move. So such processes are
// continued while they are frozen, which runs no instruction of theirs, and stopped again before
// anybody can thaw them; the SIGSTOP also discards the pending SIGCONT.
class StoppedAside {
 public:
  static Result<StoppedAside> Take(const fs::path& cgroup) {
    StoppedAside aside;
    if (!IsV1Freezer(cgroup)) {
      return aside;  // the v2 freezer lets tracers in
    }
    for (const int pid : StoppedProcesses(cgroup)) {
      aside.in_container_.push_back(PidInContainer(pid));
      aside.pids_.push_back(pid);
      kill(pid, SIGCONT);
    }
    TRY(WaitFrozen(cgroup, limits::kFreezeTimeout));
    return aside;
  }
  StoppedAside(StoppedAside&& other) noexcept
      : pids_(std::exchange(other.pids_, {})), in_container_(std::move(other.in_container_)) {}
  StoppedAside& operator=(StoppedAside&&) = delete;
  ~StoppedAside() {
    for (const int pid : pids_) {
      kill(pid, SIGSTOP);
    }
  }
  const std::vector<int>& in_container() const { return in_container_; }

 private:
  StoppedAside() = default;
  std::vector<int> pids_;
  std::vector<int> in_container_;
};

Result<int> InitPid(const fs::path& state_file) {
  const auto state =
      nlohmann::json::parse(TRY(ReadSmallFile(state_file)), nullptr, /*allow_exceptions=*/false);
  const auto pid = state.is_object() ? state.find("init_process_pid") : state.end();
  if (!state.is_object() || pid == state.end() || !pid->is_number_integer()) {
    return MakeError(ErrorCode::kInternal,
                     state_file.string() + ": no pid of the container's init");
  }
  return pid->get<int>();
}

Result<SubprocessOptions> RuncCommand(const CheckpointOptions& options, const fs::path& runc_root,
                                      const fs::path& config) {
  SubprocessOptions command;
  command.argv = {options.runc,      "--root",          runc_root,
                  "checkpoint",      "--leave-running", "--image-path",
                  options.image_dir, "--work-path",     options.work_dir};
  if (options.tcp_established) {
    command.argv.push_back("--tcp-established");
  }
  if (options.external_unix_sockets) {
    command.argv.push_back("--ext-unix-sk");
  }
  if (options.file_locks) {
    command.argv.push_back("--file-locks");
  }
  command.argv.push_back(options.container_id);
  command.env = {{"CRIU_CONFIG_FILE", config}};
  if (const fs::path directory = TRY(CriuDirectory(options.criu_path)); !directory.empty()) {
    const char* path = getenv("PATH");
    command.env.emplace_back("PATH", directory.string() + ":" + (path != nullptr ? path : ""));
  }
  command.timeout = options.timeout;
  return command;
}

std::string LastLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
    text.pop_back();
  }
  const auto newline = text.rfind('\n');
  return newline == std::string::npos ? text : text.substr(newline + 1);
}

Error CheckpointError(const CheckpointOptions& options, const SubprocessOutcome& outcome) {
  std::string cause = CondenseCriuLogFile(options.work_dir / "dump.log");
  if (outcome.timed_out) {
    return MakeError(ErrorCode::kDeadlineExceeded,
                     "CRIU did not finish within " +
                         std::to_string(std::chrono::milliseconds(options.timeout).count()) +
                         " ms" + (cause.empty() ? "" : ": " + cause));
  }
  if (cause.empty()) {
    cause = LastLine(outcome.stderr_text);
  }
  return MakeError(ErrorCode::kFailedPrecondition, "CRIU cannot dump the container: " + cause,
                   "CHECKPOINT_FAILED");
}

}  // namespace

Result<CheckpointStats> Checkpoint(const CheckpointOptions& options) {
  TRY(CheckOptions(options));
  std::error_code error;
  for (const fs::path& directory : {options.image_dir, options.work_dir}) {
    if (fs::create_directories(directory, error); error) {
      return ErrnoError("create " + directory.string(), error.value());
    }
    fs::permissions(directory, fs::perms::owner_all, error);  // it holds the container's memory
  }
  // Left by an attempt before this one, they would tell about that one.
  fs::remove(options.work_dir / "dump.log", error);
  fs::remove(options.work_dir / "stats-dump", error);
  const auto begin = std::chrono::steady_clock::now();
  const fs::path runc_root = TRY(FindRuncRoot(options.exec_root, options.container_id));
  const int init = TRY(InitPid(runc_root / options.container_id / "state.json"));
  const fs::path cgroup = TRY(FindFreezerCgroup(init, options.container_id));
  if (const auto exec = FindExecSession(init, cgroup)) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     exec->subject + ": " + exec->detail + "; " + exec->remedy, exec->code);
  }
  const std::vector<int> processes = TRY(CgroupProcesses(cgroup));
  const WatchedPaths watched = TRY(FindWatchedPaths(init, processes, options.watched_paths));
  const fs::path config = options.work_dir / "criu.conf";
  TRY(WriteFileAtomically(config, CriuConfig(options, watched)));

  const SubprocessOptions command = TRY(RuncCommand(options, runc_root, config));
  CheckpointStats stats;
  {
    const StoppedAside stopped = TRY(StoppedAside::Take(cgroup));
    const SubprocessOutcome outcome = TRY(RunSubprocess(command));
    if (!outcome.ok()) {
      return CheckpointError(options, outcome);
    }
    TRY(WriteStoppedProcesses(options.image_dir, stopped.in_container()));
  }
  stats.stopped_processes = TRY(ReadStoppedProcesses(options.image_dir));
  stats.total_time = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - begin);
  static_cast<CriuDumpStats&>(stats) = TRY(ReadCriuDumpStats(options.work_dir));
  return stats;
}

Result<fs::path> FindRuncRoot(const fs::path& exec_root, std::string_view container_id) {
  // <exec root>/runtime-<name>/<containerd namespace>/<container id>/state.json
  std::error_code error;
  for (const auto& runtime : fs::directory_iterator(exec_root, error)) {
    if (!runtime.path().filename().string().starts_with("runtime-")) {
      continue;
    }
    std::error_code inner_error;
    for (const auto& space : fs::directory_iterator(runtime.path(), inner_error)) {
      if (fs::exists(space.path() / container_id / "state.json", inner_error)) {
        return space.path();
      }
    }
  }
  return MakeError(ErrorCode::kNotFound,
                   "no runc state of container " + std::string(container_id.substr(0, 12)) +
                       " below " + exec_root.string() + ": is that dockerd's --exec-root?");
}

Result<CriuInfo> ProbeCriu(const fs::path& criu_path) {
  const fs::path directory = TRY(CriuDirectory(criu_path));
  const std::string program = directory.empty() ? "criu" : (directory / "criu").string();
  const SubprocessOutcome version = TRY(RunSubprocess({.argv = {program, "--version"}}));
  static const std::regex kVersion(R"(Version: ((\d+)\.(\d+)[^\s]*))");
  std::smatch match;
  if (!version.ok() || !std::regex_search(version.stdout_text, match, kVersion)) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     program + " --version: " + LastLine(version.stderr_text), "CRIU_UNUSABLE");
  }
  CriuInfo info{match[1], std::stoi(match[2]), std::stoi(match[3])};
  const SubprocessOutcome check = TRY(RunSubprocess({.argv = {program, "check"}}));
  if (!check.ok()) {
    const std::string reason = CondenseCriuLog(check.stderr_text);
    return MakeError(ErrorCode::kFailedPrecondition,
                     "CRIU " + info.version + " does not work on this kernel: " +
                         (reason.empty() ? LastLine(check.stderr_text) : reason),
                     "CRIU_UNUSABLE");
  }
  return info;
}

}  // namespace migrate
