#include "migrated/container_processes.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <thread>

#include "base/cgroup.h"
#include "base/file_util.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kExecWait = 5s;
constexpr auto kLogWait = 200ms;
constexpr auto kPollInterval = 5ms;

// The fields of /proc/PID/stat after the command, which may hold anything: [0] is the state.
Result<std::vector<std::string>> StatFields(int pid) {
  const std::string text = TRY(ReadSmallFile("/proc/" + std::to_string(pid) + "/stat"));
  const auto end = text.rfind(')');
  if (end == std::string::npos) {
    return MakeError(ErrorCode::kInternal, "/proc/" + std::to_string(pid) + "/stat: unreadable");
  }
  std::istringstream words(text.substr(end + 1));
  std::vector<std::string> fields;
  for (std::string word; words >> word;) {
    fields.push_back(word);
  }
  if (fields.size() < 20) {
    return MakeError(ErrorCode::kInternal, "/proc/" + std::to_string(pid) + "/stat: too short");
  }
  return fields;
}

bool DescendsFrom(int pid, int ancestor) {
  while (pid > 1) {
    if (pid == ancestor) {
      return true;
    }
    const auto fields = StatFields(pid);
    if (!fields) {
      return true;  // gone meanwhile: not a reason to wait
    }
    pid = std::stoi((*fields)[1]);
  }
  return false;
}

std::string CommandOf(int pid) {
  auto text = ReadSmallFile("/proc/" + std::to_string(pid) + "/cmdline");
  if (!text) {
    return "process " + std::to_string(pid);
  }
  std::replace(text->begin(), text->end(), '\0', ' ');
  return *text;
}

// Bytes that wait in the pipe behind a descriptor of a process; 0 if it is no pipe.
int PipeBacklog(int pid, int fd) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  struct stat status {};
  if (stat(path.c_str(), &status) != 0 || !S_ISFIFO(status.st_mode)) {
    return 0;
  }
  const OwnedFd pipe(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  int waiting = 0;
  if (!pipe || ioctl(pipe.get(), FIONREAD, &waiting) != 0) {
    return 0;
  }
  return waiting;
}

}  // namespace

Result<std::string> StartTimeOf(int pid) { return TRY(StatFields(pid))[19]; }

Result<char> TaskState(int task) { return TRY(StatFields(task))[0][0]; }

std::set<std::string> SharedWritableFiles(const std::string& cgroup) {
  std::set<std::string> paths;
  const auto processes = CgroupProcesses(cgroup);
  if (!processes) {
    return paths;
  }
  for (const int pid : *processes) {
    const auto maps = ReadSmallFile("/proc/" + std::to_string(pid) + "/maps");
    std::istringstream lines(maps ? *maps : "");
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string range;
      std::string permissions;
      words >> range >> permissions;
      const auto slash = line.find('/');
      if (permissions.size() == 4 && permissions[1] == 'w' && permissions[3] == 's' &&
          slash != std::string::npos) {
        paths.insert(line.substr(slash));
      }
    }
  }
  return paths;
}

void WaitForLogsToSettle(int init_pid) {
  const auto until = std::chrono::steady_clock::now() + kLogWait;
  while (PipeBacklog(init_pid, 1) + PipeBacklog(init_pid, 2) > 0 &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kPollInterval);
  }
  // What has been read is in the file one write later.
  std::this_thread::sleep_for(kPollInterval);
}

Result<> WaitForExecsToEnd(int init_pid, const std::string& cgroup) {
  const auto until = std::chrono::steady_clock::now() + kExecWait;
  for (;;) {
    int stranger = 0;
    for (const int pid : TRY(CgroupProcesses(cgroup))) {
      if (!DescendsFrom(pid, init_pid)) {
        stranger = pid;
      }
    }
    if (stranger == 0) {
      return {};
    }
    if (std::chrono::steady_clock::now() > until) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       "a `docker exec` session runs in the container: " + CommandOf(stranger) +
                           "; end it and try again",
                       "EXEC_SESSION");
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

}  // namespace migrate
