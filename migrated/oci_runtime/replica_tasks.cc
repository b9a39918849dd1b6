#include "migrated/oci_runtime/replica_tasks.h"

#include <signal.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <string>

#include "base/cgroup.h"
#include "base/file_util.h"

namespace migrate {
namespace {

struct Process {
  int pid = 0;
  int parent = 0;
  int in_container = 0;
};

Process ReadProcess(int pid) {
  Process process{pid, 0, 0};
  const auto status = ReadSmallFile("/proc/" + std::to_string(pid) + "/status");
  std::istringstream lines(status.value_or(std::string()));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "PPid:") {
      words >> process.parent;
    } else if (key == "NSpid:") {
      for (int id = 0; words >> id;) {
        process.in_container = id;  // the last one is the innermost
      }
    }
  }
  return process;
}

}  // namespace

Result<> ResumeReplica(const std::filesystem::path& cgroup, const std::vector<int>& stopped) {
  std::map<int, Process> processes;
  for (const int pid : TRY(CgroupProcesses(cgroup))) {
    processes[pid] = ReadProcess(pid);
  }
  std::vector<std::pair<int, int>> by_depth;
  for (const auto& [pid, process] : processes) {
    int depth = 0;
    for (auto it = processes.find(process.parent); it != processes.end() && depth < 1000;
         it = processes.find(it->second.parent)) {
      ++depth;
    }
    by_depth.emplace_back(-depth, pid);
  }
  std::sort(by_depth.begin(), by_depth.end());
  for (const auto& [depth, pid] : by_depth) {
    if (std::find(stopped.begin(), stopped.end(), processes[pid].in_container) != stopped.end()) {
      continue;
    }
    if (kill(pid, SIGCONT) != 0 && errno != ESRCH) {
      return ErrnoError("resume process " + std::to_string(pid));
    }
  }
  return {};
}

}  // namespace migrate
