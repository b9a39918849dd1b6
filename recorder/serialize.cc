#include "recorder/serialize.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "base/file_util.h"
#include "base/limits.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kDeadlinePolicy = 6;  // SCHED_DEADLINE

// Rounds in which new tasks are looked for while they fork. Each leaves only those born meanwhile.
constexpr int kMaxRounds = 20;


// By CPU number; ticks since boot.
std::map<int, std::uint64_t> ReadCpuTimes() {
  std::map<int, std::uint64_t> times;
  std::istringstream text(ReadSmallFile("/proc/stat").value_or(std::string()));
  for (std::string line; std::getline(text, line) && line.starts_with("cpu");) {
    std::istringstream fields(line.substr(3));
    int cpu = 0;
    std::uint64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0;
    if (line[3] != ' ' &&  // not the sum of all
        fields >> cpu >> user >> nice >> system >> idle >> wait >> irq >> softirq) {
      times[cpu] = user + nice + system + irq + softirq;
    }
  }
  return times;
}

// Of equals the last one: the first CPU has more interrupts than the others.
int LeastBusy(const std::vector<int>& cpus) {
  const auto before = ReadCpuTimes();
  std::this_thread::sleep_for(limits::kCpuLoadSample);
  auto after = ReadCpuTimes();
  int best = cpus.front();
  std::uint64_t least = ~std::uint64_t{0};
  for (const int cpu : cpus) {
    const auto earlier = before.find(cpu);
    const std::uint64_t start = earlier == before.end() ? 0 : earlier->second;
    const std::uint64_t busy = std::max(after[cpu], start) - start;
    if (busy <= least) {
      least = busy;
      best = cpu;
    }
  }
  return best;
}


// What a task of the container goes back to.
class SavedTasks {
 public:
  explicit SavedTasks(const SerializeUndo& undo) {
    for (const TaskScheduling& task : undo.tasks) {
      by_tid_[task.tid] = &task;
    }
  }

  // `born`: the task is not the one that was saved.
  const TaskScheduling* Find(const TaskIdentity& task, bool& born) const {
    born = false;
    if (const auto* own = Same(task)) {
      return own;
    }
    born = true;
    int pid = task.tgid;
    for (int depth = 0; depth < 64 && pid > 1; ++depth) {
      const auto process = ReadTaskIdentity(pid);
      if (!process) {
        break;
      }
      if (const auto* saved = Same(*process)) {
        return saved;
      }
      pid = process->parent;
    }
    return nullptr;
  }

 private:
  const TaskScheduling* Same(const TaskIdentity& task) const {
    const auto found = by_tid_.find(task.tid);
    return found != by_tid_.end() && found->second->start_time == task.start_time ? found->second
                                                                                  : nullptr;
  }
  std::map<int, const TaskScheduling*> by_tid_;
};

// After SCHED_RESET_ON_FORK of the parent the children of a real-time task are normal ones.
TaskScheduling ForChild(const TaskScheduling* parent, int tid) {
  TaskScheduling task = parent ? *parent : TaskScheduling{};
  task.tid = tid;
  if (task.flags != 0) {
    task.flags = 0;
    if (task.policy == SCHED_FIFO || task.policy == SCHED_RR) {
      task.policy = SCHED_OTHER;
      task.priority = 0;
    }
    task.nice = std::max(task.nice, 0);
  }
  if (!parent) {
    task.cpus = CpusOfTask(tid).value_or(std::vector<int>());
  }
  return task;
}

void Keep(Result<>& first, Result<> next) {
  if (first && !next) {
    first = std::move(next);
  }
}

// Puts back every task once; true if there was one that had not been seen.
bool RestoreRound(const SerializeUndo& undo, const SavedTasks& saved,
                  std::map<int, std::uint64_t>& done, Result<>& result) {
  bool found_new = false;
  const auto tids = CgroupTasks(undo.freezer_cgroup);
  for (const int tid : tids.value_or(std::vector<int>())) {
    const auto identity = ReadTaskIdentity(tid);
    if (!identity || (done.contains(tid) && done[tid] == identity->start_time)) {
      continue;
    }
    found_new = true;
    done[tid] = identity->start_time;
    bool born = false;
    const TaskScheduling* task = saved.Find(*identity, born);
    if (!born) {
      Keep(result, RestoreTaskScheduling(*task));
    } else if (IsFifo(tid)) {  // else it comes from outside, with a scheduling of its own
      Keep(result, RestoreTaskScheduling(ForChild(task, tid)));
    }
  }
  return found_new;
}

Result<> ConfineTasks(const SerializeUndo& undo) {
  for (const int tid : TRY(CgroupTasks(undo.freezer_cgroup))) {
    if (undo.cpusets.empty()) {
      TRY(ConfineTask(tid, undo.cpu));
    }
    TRY(MakeFifo(tid));
  }
  return {};
}

bool AllSerial(const SerializeUndo& undo) {
  const auto tids = CgroupTasks(undo.freezer_cgroup);
  return tids && std::all_of(tids->begin(), tids->end(), [](int tid) {
           return IsFifo(tid) || access(("/proc/" + std::to_string(tid)).c_str(), F_OK) != 0;
         });
}

// True where a CFS quota limits the cgroup: v1 cpu.cfs_quota_us, v2 cpu.max.
bool HasQuota(const SerializeOptions& options) {
  const auto v1 = FindControllerCgroup(options.init_pid, "cpu", options.container_id,
                                       "cpu.cfs_quota_us");
  if (v1 && *v1) {
    return !ReadSmallFile(**v1 / "cpu.cfs_quota_us").value_or("-1").starts_with("-1");
  }
  const auto v2 = FindControllerCgroup(options.init_pid, "cpu", options.container_id, "cpu.max");
  return v2 && *v2 && !ReadSmallFile(**v2 / "cpu.max").value_or("max").starts_with("max");
}

// Not tried out: that would change the host's limit.
Result<> MayUseRealtime() {
  constexpr int kSysNice = 23;
  const std::string status = ReadSmallFile("/proc/self/status").value_or(std::string());
  const auto at = status.find("\nCapEff:");
  const std::uint64_t capabilities =
      at == std::string::npos ? 0 : std::strtoull(status.c_str() + at + 8, nullptr, 16);
  if ((capabilities >> kSysNice & 1) == 0) {
    return MakeError(ErrorCode::kPermissionDenied, "the daemon has no CAP_SYS_NICE");
  }
  if (const auto& limit = RtLimitPlaces().limit; access(limit.c_str(), W_OK) != 0) {
    return ErrnoError(limit.string());
  }
  return {};
}

}  // namespace

std::string SerializeUndo::ToJson() const {
  nlohmann::json sets = nlohmann::json::array();
  for (const CpusetState& state : cpusets) {
    sets.push_back({{"cgroup", state.cgroup.string()}, {"cpus", state.cpus}});
  }
  return nlohmann::json{{"container", container_id},
                        {"freezer", freezer_cgroup.string()},
                        {"cpu", cpu},
                        {"cpusets", sets},
                        {"tasks", tasks}}
      .dump();
}

Result<SerializeUndo> SerializeUndo::FromJson(std::string_view json) {
  try {
    const auto parsed = nlohmann::json::parse(json);
    SerializeUndo undo;
    undo.container_id = parsed.at("container").get<std::string>();
    undo.freezer_cgroup = parsed.at("freezer").get<std::string>();
    undo.cpu = parsed.at("cpu").get<int>();
    for (const auto& state : parsed.at("cpusets")) {
      undo.cpusets.push_back(
          {state.at("cgroup").get<std::string>(), state.at("cpus").get<std::string>()});
    }
    undo.tasks = parsed.at("tasks").get<std::vector<TaskScheduling>>();
    return undo;
  } catch (const nlohmann::json::exception& error) {
    return MakeError(ErrorCode::kDataLoss,
                     std::string("undo of the scheduling not understood: ") + error.what());
  }
}

Result<std::vector<int>> CpusOfTask(int pid) {
  // Cpus_allowed would be cut by a wish of the task itself: what counts is its cpuset.
  const auto cgroup = TRY(FindControllerCgroup(pid, "cpuset", {}, "cpuset.cpus"));
  if (!cgroup) {
    return TRY(ReadTaskScheduling(pid)).cpus;
  }
  std::error_code error;
  const char* v2 = "cpuset.cpus.effective";
  const char* v1 = "cpuset.effective_cpus";
  const auto text = TRY(ReadSmallFile(*cgroup / (fs::exists(*cgroup / v2, error) ? v2 : v1)));
  std::vector<int> cpus;
  std::istringstream ranges(text);
  for (std::string range; std::getline(ranges, range, ',');) {
    int first = 0, last = 0;
    const int fields = sscanf(range.c_str(), "%d-%d", &first, &last);
    for (int cpu = first; fields > 0 && cpu <= (fields == 2 ? last : first); ++cpu) {
      cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) {
    return MakeError(ErrorCode::kInternal, cgroup->string() + ": no CPU in its cpuset");
  }
  return cpus;
}

Result<SerializeUndo> PlanSerialize(const SerializeOptions& options) {
  SerializeUndo undo{.container_id = options.container_id,
                     .freezer_cgroup = options.freezer_cgroup,
                     .cpu = options.cpu,
                     .cpusets = {},
                     .tasks = {}};
  const auto cpus = TRY(CpusOfTask(options.init_pid));
  if (undo.cpu < 0) {
    undo.cpu = LeastBusy(cpus);
  } else if (std::find(cpus.begin(), cpus.end(), undo.cpu) == cpus.end()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "CPU " + std::to_string(undo.cpu) + " is not in the container's cpuset",
                     "CPU_OUTSIDE_CPUSET");
  }
  const auto cpuset = TRY(
      FindControllerCgroup(options.init_pid, "cpuset", options.container_id, "cpuset.cpus"));
  if (cpuset) {
    undo.cpusets = TRY(ReadCpusets(*cpuset));
  }
  for (const int tid : TRY(CgroupTasks(options.freezer_cgroup))) {
    auto task = ReadTaskScheduling(tid);
    if (task) {
      undo.tasks.push_back(std::move(*task));
    } else if (access(("/proc/" + std::to_string(tid)).c_str(), F_OK) == 0) {
      return Error(std::move(task).error());
    }
  }
  return undo;
}

Result<> Serialize(const SerializeUndo& undo, const RtLimitPlaces& places) {
  const auto apply = [&]() -> Result<> {
    TRY(LiftRtLimit(undo.container_id, places));
    if (!undo.cpusets.empty()) {
      TRY(ConfineCpusets(undo.cpusets, undo.cpu));
    }
    for (int round = 0; round < kMaxRounds; ++round) {
      TRY(ConfineTasks(undo));
      if (AllSerial(undo)) {
        return {};
      }
    }
    return MakeError(ErrorCode::kAborted, "the container makes tasks faster than they can be " +
                                              std::string("put on one CPU: freeze it first"));
  };
  auto applied = apply();
  if (!applied) {
    static_cast<void>(UndoSerialize(undo, places));
  }
  return applied;
}

Result<> UndoSerialize(const SerializeUndo& undo, const RtLimitPlaces& places) {
  Result<> result = RestoreCpusets(undo.cpusets, undo.cpu);
  const SavedTasks saved(undo);
  std::map<int, std::uint64_t> done;
  for (int round = 0; round < kMaxRounds && RestoreRound(undo, saved, done, result); ++round) {
  }
  Keep(result, ReturnRtLimit(undo.container_id, places));
  return result;
}

SerializeCheck CheckSerialize(const SerializeOptions& options) {
  SerializeCheck check;
  if (const auto able = MayUseRealtime(); !able) {
    check.blockers.push_back({"NO_REALTIME", "SCHED_FIFO", able.error().message,
                              "let the daemon run as root with CAP_SYS_NICE and a writable /proc/sys"});
  }
  const auto cpus = CpusOfTask(options.init_pid);
  if (cpus && options.cpu >= 0 &&
      std::find(cpus->begin(), cpus->end(), options.cpu) == cpus->end()) {
    check.blockers.push_back({"CPU_OUTSIDE_CPUSET", "CPU " + std::to_string(options.cpu),
                              "the container may not use it", "choose one of its cpuset"});
  }
  int realtime = 0;
  for (const int tid : CgroupTasks(options.freezer_cgroup).value_or(std::vector<int>())) {
    const auto task = ReadTaskScheduling(tid);
    if (task && task->policy == kDeadlinePolicy) {
      check.blockers.push_back({"DEADLINE_TASK", "task " + std::to_string(tid),
                                "runs under SCHED_DEADLINE, which is bound to all CPUs",
                                "stop it or give it another policy"});
    }
    realtime += task && (task->policy == SCHED_FIFO || task->policy == SCHED_RR) ? 1 : 0;
  }
  if (realtime > 0) {
    check.notes.push_back({"REALTIME_TASKS", std::to_string(realtime) + " tasks",
                           "have real-time priorities, which are equal while recorded", ""});
  }
  if (HasQuota(options)) {
    check.notes.push_back({"CPU_QUOTA", options.container_id,
                           "its CPU quota has no effect while it is recorded: it may use one whole CPU",
                           ""});
  }
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
    check.notes.push_back({"SINGLE_CPU_HOST", "this host",
                           "the recorder and the container share the only CPU", ""});
  }
  return check;
}

}  // namespace migrate
