#include "base/cgroup.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>
#include <thread>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
constexpr const char* kCpusFile = "cpuset.cpus";
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, separator);) {
    parts.push_back(part);
  }
  return parts;
}

bool HasWord(std::string_view list, std::string_view word) {
  const auto words = Split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// mountinfo writes blanks and the like as \ooo.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 4], value, 8).ptr == &text[i + 4]) {
      plain += static_cast<char>(value);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

struct Hierarchy {
  std::string root;  // the cgroup that is at the mount point
  fs::path mount_point;
};

// A line is: id parent major:minor root mount-point options [tags...] - type source super-options
// No controller: the unified hierarchy.
std::optional<Hierarchy> FindMount(std::string_view mountinfo, std::string_view controller) {
  for (const std::string& line : Split(mountinfo, '\n')) {
    const auto words = Split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) {
      continue;
    }
    if (controller.empty() ? dash[1] == "cgroup2"
                           : dash[1] == "cgroup" && HasWord(dash[3], controller)) {
      return Hierarchy{Unescape(words[3]), Unescape(words[4])};
    }
  }
  return std::nullopt;
}

// A line of /proc/PID/cgroup is: number:controllers:path; the unified hierarchy has no controllers.
std::optional<std::string> FindPath(std::string_view cgroups, std::string_view controller) {
  for (const std::string& line : Split(cgroups, '\n')) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? line.starts_with("0::") : HasWord(controllers, controller)) {
      return line.substr(second + 1);
    }
  }
  return std::nullopt;
}

fs::path CutAtContainer(const std::string& path, std::string_view container_id) {
  fs::path cut;
  for (const fs::path& part : fs::path(path)) {
    cut /= part;
    if (!container_id.empty() && part.native().find(container_id) != std::string::npos) {
      break;
    }
  }
  return cut;
}

Result<bool> IsFrozen(const fs::path& cgroup) {
  if (IsV1Freezer(cgroup)) {
    return TRY(ReadSmallFile(cgroup / "freezer.state")).starts_with("FROZEN");
  }
  return TRY(ReadSmallFile(cgroup / "cgroup.events")).find("frozen 1") != std::string::npos;
}

Result<> RequestFreeze(const fs::path& cgroup) {
  if (IsV1Freezer(cgroup)) {
    return WriteControlFile(cgroup / "freezer.state", "FROZEN");
  }
  return WriteControlFile(cgroup / "cgroup.freeze", "1");
}

Result<> AppendNumbers(const fs::path& file, std::vector<int>& numbers) {
  for (const std::string& line : Split(TRY(ReadSmallFile(file)), '\n')) {
    int number = 0;
    // 0 is a task outside our pid namespace.
    if (std::from_chars(line.data(), line.data() + line.size(), number).ec == std::errc() &&
        number > 0) {
      numbers.push_back(number);
    }
  }
  return {};
}

Result<std::vector<int>> List(const fs::path& cgroup, const char* file) {
  std::vector<int> numbers;
  TRY(AppendNumbers(cgroup / file, numbers));
  std::error_code error;
  for (fs::recursive_directory_iterator it(cgroup, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory(error)) {
      // A child may vanish; a threaded v2 child refuses this file, its domain has its processes.
      static_cast<void>(AppendNumbers(it->path() / file, numbers));
    }
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

struct FoundCgroup {
  fs::path path;
  bool is_root = false;
};

// The cgroup of `pid` in the v1 hierarchy of the controller, else in the unified one.
Result<std::optional<FoundCgroup>> FindCgroup(int pid, std::string_view controller,
                                              std::string_view container_id,
                                              const fs::path& proc) {
  const auto cgroups = TRY(ReadSmallFile(proc / std::to_string(pid) / "cgroup"));
  const auto mountinfo = TRY(ReadSmallFile(proc / "self" / "mountinfo"));
  for (const std::string_view hierarchy : {controller, std::string_view()}) {
    const auto mount = FindMount(mountinfo, hierarchy);
    const auto path = FindPath(cgroups, hierarchy);
    if (!mount || !path) {
      continue;
    }
    const fs::path cut = CutAtContainer(*path, container_id);
    const fs::path below =
        mount->root == "/" ? cut.relative_path() : cut.lexically_relative(mount->root);
    if (!below.empty() && *below.begin() == "..") {
      continue;  // outside of what is mounted here
    }
    return FoundCgroup{(mount->mount_point / below).lexically_normal(),
                       below.empty() || below == "."};
  }
  return std::optional<FoundCgroup>();
}

}  // namespace

Result<fs::path> FindFreezerCgroup(int pid, std::string_view container_id, const fs::path& proc) {
  const auto found = TRY(FindCgroup(pid, "freezer", container_id, proc));
  if (!found) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "no cgroup freezer is mounted for process " + std::to_string(pid));
  }
  if (found->is_root) {
    return MakeError(
        ErrorCode::kFailedPrecondition,
        "process " + std::to_string(pid) + " is in the root cgroup, which cannot be frozen");
  }
  return found->path;
}

Result<std::optional<fs::path>> FindControllerCgroup(int pid, std::string_view controller,
                                                     std::string_view container_id,
                                                     std::string_view file, const fs::path& proc) {
  const auto found = TRY(FindCgroup(pid, controller, container_id, proc));
  std::error_code error;
  if (!found || found->is_root || !fs::exists(found->path / file, error)) {
    return std::optional<fs::path>();
  }
  return std::optional(found->path);
}

Result<std::vector<CpusetState>> ReadCpusets(const fs::path& cgroup) {
  std::vector<CpusetState> states;
  const auto add = [&](const fs::path& directory) -> Result<> {
    std::string cpus = TRY(ReadSmallFile(directory / kCpusFile));
    cpus.erase(cpus.find_last_not_of(" \n") + 1);
    states.push_back({directory, std::move(cpus)});
    return {};
  };
  TRY(add(cgroup));
  std::error_code error;
  for (fs::recursive_directory_iterator it(cgroup, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory(error)) {
      static_cast<void>(add(it->path()));  // may vanish, or have no such controller
    }
  }
  return states;
}

Result<> ConfineCpusets(const std::vector<CpusetState>& states, int cpu) {
  // v1: no cgroup may have less than those below it, so the lowest come first.
  for (auto it = states.rbegin(); it != states.rend(); ++it) {
    std::error_code error;
    if (!it->cpus.empty() || it == states.rend() - 1) {
      const auto written = WriteControlFile(it->cgroup / kCpusFile, std::to_string(cpu));
      if (!written && fs::exists(it->cgroup, error)) {
        return written;
      }
    }
  }
  return {};
}

Result<> RestoreCpusets(const std::vector<CpusetState>& states, int cpu) {
  Result<> first_failure;
  for (const CpusetState& state : states) {
    std::error_code error;
    std::string now = ReadSmallFile(state.cgroup / kCpusFile).value_or(std::string());
    now.erase(now.find_last_not_of(" \n") + 1);
    if (now != std::to_string(cpu)) {
      continue;  // an admin has changed it since (docker update)
    }
    const auto written = WriteControlFile(state.cgroup / kCpusFile,
                                          state.cpus.empty() ? std::string("\n") : state.cpus);
    if (!written && first_failure && fs::exists(state.cgroup, error)) {
      first_failure = written;
    }
  }
  return first_failure;
}

bool IsV1Freezer(const fs::path& cgroup) {
  std::error_code error;
  return fs::exists(cgroup / "freezer.state", error);
}

Result<std::vector<int>> CgroupProcesses(const fs::path& cgroup) {
  return List(cgroup, "cgroup.procs");
}

Result<std::vector<int>> CgroupTasks(const fs::path& cgroup) {
  return List(cgroup, IsV1Freezer(cgroup) ? "tasks" : "cgroup.threads");
}

Result<> WaitFrozen(const fs::path& cgroup, milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  auto pause = std::chrono::microseconds(50);
  while (!TRY(IsFrozen(cgroup))) {
    if (Clock::now() >= deadline) {
      return MakeError(ErrorCode::kDeadlineExceeded,
                       cgroup.string() + " did not freeze within " +
                           std::to_string(timeout.count()) + " ms: a task is in an " +
                           "uninterruptible sleep, or it forks faster than it can be frozen");
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(2000));
  }
  return {};
}

Result<FrozenCgroup> FrozenCgroup::Freeze(const fs::path& cgroup, milliseconds timeout) {
  FrozenCgroup frozen(cgroup);  // thaws on every way out but the last
  TRY(RequestFreeze(cgroup));
  TRY(WaitFrozen(cgroup, timeout));
  return frozen;
}

Result<> FrozenCgroup::Thaw(const fs::path& cgroup) {
  std::error_code error;
  if (!fs::exists(cgroup, error)) {
    return {};
  }
  if (IsV1Freezer(cgroup)) {
    return WriteControlFile(cgroup / "freezer.state", "THAWED");
  }
  return WriteControlFile(cgroup / "cgroup.freeze", "0");
}

Result<> FrozenCgroup::Thaw() {
  const fs::path cgroup = std::exchange(cgroup_, {});
  return cgroup.empty() ? Result<>() : Thaw(cgroup);
}

FrozenCgroup::FrozenCgroup(FrozenCgroup&& other) noexcept
    : cgroup_(std::exchange(other.cgroup_, {})) {}

FrozenCgroup& FrozenCgroup::operator=(FrozenCgroup&& other) noexcept {
  if (this != &other) {
    static_cast<void>(Thaw());
    cgroup_ = std::exchange(other.cgroup_, {});
  }
  return *this;
}

FrozenCgroup::~FrozenCgroup() { static_cast<void>(Thaw()); }

Result<> KillCgroup(const fs::path& cgroup, milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    std::error_code error;
    const auto processes = CgroupProcesses(cgroup);
    if (!fs::exists(cgroup, error) || (processes && processes->empty())) {
      return FrozenCgroup::Thaw(cgroup);
    }
    for (const int pid : TRY(Result(processes))) {
      kill(pid, SIGKILL);
    }
    TRY(FrozenCgroup::Thaw(cgroup));  // only now: the signal is what they wake up to
    if (Clock::now() >= deadline) {
      return MakeError(ErrorCode::kDeadlineExceeded,
                       cgroup.string() + " still has processes after SIGKILL");
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
}

void RemoveCgroupEverywhere(std::string_view path, const fs::path& proc) {
  const fs::path relative = fs::path(path).relative_path().lexically_normal();
  if (relative.empty() || relative == "." || *relative.begin() == "..") {
    return;
  }
  const std::string mountinfo = ReadSmallFile(proc / "self" / "mountinfo").value_or(std::string());
  std::vector<fs::path> cgroups;
  for (const std::string& line : Split(mountinfo, '\n')) {
    const auto words = Split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() >= 6 && words.end() - dash >= 4 && dash[1].starts_with("cgroup") &&
        words[3] == "/") {
      cgroups.push_back(fs::path(Unescape(words[4])) / relative);
    }
  }
  for (const fs::path& cgroup : cgroups) {
    std::error_code error;
    if (!fs::exists(cgroup, error)) {
      continue;
    }
    if (IsV1Freezer(cgroup) || fs::exists(cgroup / "cgroup.freeze", error)) {
      static_cast<void>(KillCgroup(cgroup));
    }
  }
  for (const fs::path& cgroup : cgroups) {
    std::vector<fs::path> directories{cgroup};
    std::error_code error;
    for (fs::recursive_directory_iterator it(cgroup, error), end; !error && it != end;
         it.increment(error)) {
      if (it->is_directory(error)) {
        directories.push_back(it->path());
      }
    }
    for (auto it = directories.rbegin(); it != directories.rend(); ++it) {
      rmdir(it->c_str());  // the files in it are the kernel's and go with it
    }
  }
}

}  // namespace migrate
