#include "migrated/oci_runtime/restore.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/cgroup.h"
#include "base/criu_files.h"
#include "base/file_util.h"
#include "base/limits.h"
#include "base/netns.h"
#include "base/scope_exit.h"
#include "base/subprocess.h"
#include "migrated/network/netlock.h"
#include "migrated/network/relay_plan.h"
#include "migrated/oci_runtime/bundle.h"
#include "migrated/oci_runtime/split_restore.h"
#include "migrated/oci_runtime/standing_plan.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kHookTimeoutSeconds = 30;
constexpr auto kEndTimeout = std::chrono::seconds(5);
constexpr auto kEndPause = std::chrono::milliseconds(5);

std::string OneLine(std::string text) {
  for (char& c : text) {
    c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  }
  const auto end = text.find_last_not_of(' ');
  return text.substr(0, end == std::string::npos ? 0 : end + 1);
}

// As runc writes it, so that the engine shows it.
void AppendToLog(const CommandLine& line, const std::string& message) {
  if (line.log.empty()) {
    return;
  }
  std::array<char, 32> time{};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  const json entry{{"level", "error"}, {"msg", message}, {"time", time.data()}};
  const std::string text =
      (line.log_json ? entry.dump(-1, ' ', false, json::error_handler_t::replace)
                     : "time=\"" + std::string(time.data()) + "\" level=error msg=" +
                           json(message).dump(-1, ' ', false, json::error_handler_t::replace)) +
      "\n";
  if (const auto log = OpenFile(line.log, O_WRONLY | O_APPEND | O_CREAT, 0644)) {
    static_cast<void>(WriteFully(*log, text.data(), text.size()));
  }
}

std::uintmax_t SizeOf(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? 0 : size;
}

// The last error that runc wrote after `offset`.
std::string RuncError(const CommandLine& line, std::uintmax_t offset) {
  const std::string text = ReadSmallFile(line.log).value_or(std::string());
  std::istringstream lines(text.substr(std::min<std::size_t>(offset, text.size())));
  std::string message;
  for (std::string entry; std::getline(lines, entry);) {
    const json fields = json::parse(entry, nullptr, /*allow_exceptions=*/false);
    if (fields.is_object() && fields.value("level", "") == "error") {
      message = fields.value("msg", "");
    }
  }
  return OneLine(message);
}

// A hook that failed is known to runc, everything else to CRIU.
std::string RestoreError(const CommandLine& line, const RestoreTicket& ticket,
                         std::uintmax_t log_offset, int status) {
  const std::string runc = RuncError(line, log_offset);
  const std::string criu = CondenseCriuLogFile(ticket.work_dir / "restore.log");
  std::string cause = !criu.empty() && runc.find("hook") == std::string::npos ? criu : runc;
  if (cause.empty()) {
    cause = WIFSIGNALED(status) ? "runc was killed by signal " + std::to_string(WTERMSIG(status))
                                : "runc exited with status " + std::to_string(WEXITSTATUS(status)) +
                                      " and said nothing";
  }
  return "CRIU cannot restore the container: " + cause;
}

std::string CriuConfig(const RestoreTicket& ticket) {
  std::string text = "network-lock skip\n";  // with our lock; CRIU's is left behind when it dies
  if (ticket.leave_stopped) {
    text += "leave-stopped\n";
  }
  for (const std::string& line : ticket.criu_config_extra) {
    text += line + "\n";
  }
  return text;
}

std::vector<std::string> RestoreArguments(const CommandLine& line, const RestoreTicket& ticket,
                                          const fs::path& pid_file) {
  std::vector<std::string> arguments = line.global;
  for (const std::string& argument :
       {std::string("restore"), std::string("--detach"), std::string("--image-path"),
        ticket.image_dir.string(), std::string("--work-path"), ticket.work_dir.string(),
        std::string("--bundle"), line.bundle.string()}) {
    arguments.push_back(argument);
  }
  const auto add_if = [&](bool wanted, const char* option) {
    if (wanted) {
      arguments.emplace_back(option);
    }
  };
  add_if(ticket.tcp_established, "--tcp-established");
  add_if(ticket.ext_unix_sk, "--ext-unix-sk");
  add_if(ticket.file_locks, "--file-locks");
  add_if(ticket.shell_job, "--shell-job");
  add_if(line.no_pivot, "--no-pivot");
  if (!pid_file.empty()) {
    arguments.insert(arguments.end(), {"--pid-file", pid_file.string()});
  }
  if (!line.console_socket.empty()) {
    arguments.insert(arguments.end(), {"--console-socket", line.console_socket});
  }
  arguments.push_back(line.id);
  return arguments;
}

std::vector<int> Children(int pid) {
  std::vector<int> children;
  std::error_code error;
  const fs::path tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : fs::directory_iterator(tasks, error)) {
    std::istringstream list(ReadSmallFile(task.path() / "children").value_or(std::string()));
    for (int child = 0; list >> child;) {
      children.push_back(child);
    }
  }
  return children;
}

// runc, CRIU and the half-made container: CRIU's death alone would leave processes behind.
void KillTree(int pid) {
  kill(pid, SIGSTOP);  // makes no more children
  for (const int child : Children(pid)) {
    KillTree(child);
  }
  kill(pid, SIGKILL);
}

// Runs it with our own descriptors 0-2, which become the container's, and waits. The wait status;
// kDeadlineExceeded after the time-out, when all that it made has been killed.
Result<int> RunWithOurStdio(const std::string& program, std::vector<std::string> arguments,
                            std::chrono::milliseconds timeout) {
  std::vector<char*> pointers;
  std::string name = program;
  pointers.push_back(name.data());
  for (std::string& argument : arguments) {
    pointers.push_back(argument.data());
  }
  pointers.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) {
    return ErrnoError("fork");
  }
  if (pid == 0) {
    execvp(program.c_str(), pointers.data());
    _exit(127);
  }
  const OwnedFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const auto deadline = Clock::now() + timeout;
  bool timed_out = false;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{pidfd.get(), POLLIN, 0};
    const int count = poll(&wait, 1, left > 0 ? static_cast<int>(left) : 0);
    if (count > 0) {
      break;
    }
    if (count == 0) {
      timed_out = true;
      KillTree(pid);
      break;
    }
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (timed_out) {
    return MakeError(ErrorCode::kDeadlineExceeded,
                     "the restore did not end within " + std::to_string(timeout.count()) + " ms");
  }
  return status;
}

std::chrono::milliseconds TimeoutFor(const RestoreTicket& ticket) {
  if (ticket.timeout.count() > 0) {
    return ticket.timeout;
  }
  std::uintmax_t bytes = 0;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(ticket.image_dir, error)) {
    bytes += file.file_size(error) * (error ? 0 : 1);
  }
  return limits::kRestoreTimeout + limits::TimeForMemory(bytes);
}

Result<> SetEnvironment(const CommandLine& line, const RestoreTicket& ticket) {
  const fs::path config = UsedTicketPath(line.state_dir, line.id).replace_extension(".criu.conf");
  TRY(WriteFileAtomically(config, CriuConfig(ticket)));
  setenv("CRIU_CONFIG_FILE", config.c_str(), 1);
  if (const fs::path directory = TRY(CriuDirectory(ticket.criu_path)); !directory.empty()) {
    const char* path = getenv("PATH");
    const std::string search = directory.string() + ":" + (path != nullptr ? path : "");
    setenv("PATH", search.c_str(), 1);
  }
  return {};
}

OciHook Hook(std::vector<std::string> arguments, int timeout_seconds) {
  std::error_code error;
  std::vector<std::string> all{"migrate-runtime", "hook"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return {fs::read_symlink("/proc/self/exe", error), std::move(all), timeout_seconds};
}

// The whole restore, from the edited bundle to the result.
Result<> RunRestore(const CommandLine& line, const RestoreTicket& ticket, const fs::path& pid_file,
                    const std::vector<OciHook>& hooks) {
  std::error_code error;
  if (!fs::exists(ticket.image_dir / "inventory.img", error)) {
    return MakeError(ErrorCode::kNotFound, "no CRIU image in " + ticket.image_dir.string());
  }
  if (fs::create_directories(ticket.work_dir, error); error) {
    return ErrnoError("create " + ticket.work_dir.string(), error.value());
  }
  TRY(CheckImagePages(ticket.image_dir));
  fs::remove(ticket.work_dir / "restore.log", error);  // of an attempt before this one
  TRY(SetEnvironment(line, ticket));
  const std::string runc = !ticket.runc.empty() ? ticket.runc
                           : !line.runc.empty() ? line.runc
                                                : "runc";
  const BundleEdit edit = TRY(BundleEdit::Apply(line.bundle, hooks));
  const std::uintmax_t log_offset = SizeOf(line.log);
  ScopeExit clean_up([&] { RemoveCgroupEverywhere(CgroupsPath(edit.original())); });
  const int status =
      TRY(RunWithOurStdio(runc, RestoreArguments(line, ticket, pid_file), TimeoutFor(ticket)));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    clean_up.Dismiss();
    return {};
  }
  return MakeError(ErrorCode::kInternal, RestoreError(line, ticket, log_offset, status));
}

Result<> RestoreAndReport(const CommandLine& line, const RestoreTicket& ticket,
                          const fs::path& pid_file, const std::vector<OciHook>& hooks) {
  const auto begin = Clock::now();
  const Result<> restored = RunRestore(line, ticket, pid_file, hooks);
  const std::chrono::duration<double, std::milli> time = Clock::now() - begin;
  TRY(WriteRestoreResult(
      line.state_dir, line.id,
      {restored.has_value(), restored ? std::string() : OneLine(restored.error().message),
       time.count()}));
  return restored;
}

// Only the monitor may end here: nothing of the parent's state is to be undone twice.
[[noreturn]] void RunMonitor(const CommandLine& line, const RestoreTicket& ticket,
                             const std::vector<OciHook>& hooks) {
  const Result<> restored = RestoreAndReport(line, ticket, {}, hooks);
  _exit(restored ? 0 : 1);
}

Result<> RestoreInTwoHalves(const CommandLine& line, const RestoreTicket& ticket,
                            std::vector<OciHook> hooks) {
  PendingRestore pending = TRY(PendingRestore::Make(line.state_dir, line.id));
  hooks.push_back(Hook({"wait-start", pending.directory()}, 0));
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return ErrnoError("pipe2");
  }
  const OwnedFd monitor_end(ends[0]);
  OwnedFd held_by_monitor(ends[1]);
  const pid_t monitor = fork();
  if (monitor < 0) {
    return ErrnoError("fork");
  }
  if (monitor == 0) {
    RunMonitor(line, ticket, hooks);
  }
  held_by_monitor.reset();
  const Result<int> pid = pending.WaitReady(monitor_end);
  if (!pid) {
    static_cast<void>(pending.Tell(false));
    waitpid(monitor, nullptr, 0);
    pending.Remove();
    const std::string reason = RestoreFailure(line.state_dir, line.id);
    return reason.empty() ? Error(pid.error()) : MakeError(ErrorCode::kInternal, reason);
  }
  return line.pid_file.empty() ? Result<>()
                               : WriteFileAtomically(line.pid_file, std::to_string(*pid), 0644);
}

Result<> Restore(const CommandLine& line, const RestoreTicket& ticket) {
  const std::string config = TRY(ReadSmallFile(line.bundle / "config.json"));
  const bool own_network = TRY(MakesNetworkNamespace(config));
  const bool network_hook = TRY(HasNetworkHook(config));
  std::vector<OciHook> hooks;
  if (ticket.lock_network && own_network) {
    hooks.push_back(Hook({"lock-network"}, kHookTimeoutSeconds));
  }
  if (own_network && !ticket.network_plan.empty()) {
    OciHook connect =
        Hook({"connect-network", UsedTicketPath(line.state_dir, line.id)}, kHookTimeoutSeconds);
    connect.last = true;
    hooks.push_back(std::move(connect));
  }
  if (own_network && !network_hook) {
    return RestoreInTwoHalves(line, ticket, std::move(hooks));
  }
  return RestoreAndReport(line, ticket, line.pid_file, hooks);
}

// The pid in the container's state, which the hook gets on stdin.
Result<int> PidFromState() {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const json state = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const int pid = state.is_object() ? state.value("pid", 0) : 0;
  if (pid <= 0) {
    return MakeError(ErrorCode::kInvalidArgument, "no pid in the container's state on stdin");
  }
  return pid;
}

Result<SubprocessOutcome> RunRunc(const CommandLine& line, const std::vector<std::string>& words) {
  std::vector<std::string> arguments{line.runc.empty() ? "runc" : line.runc};
  arguments.insert(arguments.end(), line.global.begin(), line.global.end());
  arguments.insert(arguments.end(), words.begin(), words.end());
  return RunSubprocess({.argv = arguments});
}

struct RuncState {
  int pid = 0;  // of the container's init
  std::string status;
};

Result<RuncState> StateOf(const CommandLine& line) {
  const SubprocessOutcome outcome = TRY(RunRunc(line, {"state", line.id}));
  const json state = json::parse(outcome.stdout_text, nullptr, /*allow_exceptions=*/false);
  const int pid = outcome.ok() && state.is_object() ? state.value("pid", 0) : 0;
  if (pid <= 0) {
    return MakeError(ErrorCode::kInternal, "runc state tells no pid: " + outcome.stderr_text);
  }
  return RuncState{pid, state.value("status", "")};
}

Result<> CarryOutPlan(FdRef host, FdRef netns, const std::string& plan) {
  const RelayWarnings warnings = TRY(SetUpRelayPlan(host, netns, TRY(RelayPlanFromJson(plan))));
  for (const std::string& warning : warnings) {
    std::fprintf(stderr, "migrate-runtime: %s\n", OneLine(warning).c_str());
  }
  return {};
}

Result<> SetUpStandingPlan(const CommandLine& line, const std::string& plan) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  const OwnedFd netns = TRY(OpenNetns(TRY(StateOf(line)).pid));
  return CarryOutPlan(host, netns, plan);
}

Result<> HookAction(const std::vector<std::string>& arguments) {
  const int pid = TRY(PidFromState());
  if (arguments.size() == 1 && arguments[0] == "lock-network") {
    const OwnedFd netns = TRY(OpenNetns(pid));
    return LockNetns(netns);
  }
  if (arguments.size() == 2 && arguments[0] == "connect-network") {
    const RestoreTicket ticket = TRY(TicketFromJson(TRY(ReadSmallFile(arguments[1]))));
    // The hook runs in the host's namespace, where the tunnel's own packets travel.
    const OwnedFd host = TRY(OpenNetns(getpid()));
    const OwnedFd netns = TRY(OpenNetns(pid));
    return CarryOutPlan(host, netns, ticket.network_plan);
  }
  if (arguments.size() == 2 && arguments[0] == "wait-start") {
    return PendingRestore::At(arguments[1]).TellReadyAndWait(pid);
  }
  return MakeError(ErrorCode::kInvalidArgument, "unknown hook");
}

}  // namespace

int ReportFailure(const CommandLine& line, const std::string& message) {
  const std::string text = "migrate-runtime: " + OneLine(message);
  std::fprintf(stderr, "%s\n", text.c_str());
  AppendToLog(line, text);
  return 1;
}

int RestoreAtCreate(const CommandLine& line, const RestoreTicket& ticket) {
  const Result<> restored = Restore(line, ticket);
  if (restored) {
    return 0;
  }
  // What failed before the restore proper has no result yet.
  if (RestoreFailure(line.state_dir, line.id).empty()) {
    static_cast<void>(
        WriteRestoreResult(line.state_dir, line.id, {false, OneLine(restored.error().message), 0}));
  }
  return ReportFailure(line, restored.error().message);
}

bool FinishAtStart(const CommandLine& line, int& status) {
  const fs::path used = UsedTicketPath(line.state_dir, line.id);
  std::error_code error;
  if (used.empty() || !fs::remove(used, error)) {
    return false;
  }
  status = 0;
  auto pending = PendingRestore::Find(line.state_dir, line.id);
  if (!pending) {
    return true;
  }
  const Result<> told = pending->Tell(true);
  const Result<> ended = pending->WaitEnd();
  pending->Remove();
  const auto result = ReadRestoreResult(line.state_dir, line.id);
  if (!result || !result->ok) {
    status = ReportFailure(line, result   ? result->error
                                 : !ended ? ended.error().message
                                 : !told  ? told.error().message
                                          : "the restore ended without a result");
  }
  return true;
}

bool EndForgottenRestore(const CommandLine& line) {
  const auto state = StateOf(line);
  if (!state || state->status != "running") {
    return false;
  }
  static_cast<void>(RunRunc(line, {"kill", line.id, "KILL"}));
  const auto deadline = Clock::now() + kEndTimeout;
  while (kill(state->pid, 0) == 0 && Clock::now() < deadline) {
    std::this_thread::sleep_for(kEndPause);
  }
  return true;
}

bool AbandonPendingRestore(const CommandLine& line) {
  auto pending = PendingRestore::Find(line.state_dir, line.id);
  if (!pending) {
    return false;
  }
  static_cast<void>(pending->Tell(false));
  static_cast<void>(pending->WaitEnd());
  pending->Remove();
  return true;
}

void ReconnectRelays(const CommandLine& line) {
  const auto plan = ReadStandingPlan(line.state_dir, line.id);
  if (!plan) {
    return;
  }
  const Result<> done = SetUpStandingPlan(line, *plan);
  if (!done) {
    const std::string text = "migrate-runtime: the relays of the container do not work: " +
                             OneLine(done.error().message);
    std::fprintf(stderr, "%s\n", text.c_str());
    AppendToLog(line, text);
  }
}

int RunHook(const std::vector<std::string>& arguments) {
  const Result<> done = HookAction(arguments);
  if (!done) {
    std::fprintf(stderr, "migrate-runtime hook: %s\n", done.error().message.c_str());
  }
  return done ? 0 : 1;
}

}  // namespace migrate
