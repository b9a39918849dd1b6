#include "recorder/task_scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file_util.h"

namespace migrate {
namespace {

constexpr std::uint64_t kResetOnFork = 1;
constexpr int kMaxCpus = 8192;  // as many as the kernel can be built for

// linux/sched/types.h, which does not go together with sched.h of glibc 2.36.
struct Attributes {
  std::uint32_t size = 0;
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0;  // of a fair task: its slice
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
  std::uint32_t util_min = 0;
  std::uint32_t util_max = 0;
};

std::string TaskFile(int tid, const char* file) {
  return "/proc/" + std::to_string(tid) + "/" + file;
}

std::string About(const char* what, int tid) {
  return std::string(what) + " of task " + std::to_string(tid);
}

bool IsFair(std::uint32_t policy) { return policy == SCHED_OTHER || policy == SCHED_BATCH; }

Result<Attributes> GetAttributes(int tid) {
  Attributes attributes{};
  if (syscall(SYS_sched_getattr, tid, &attributes, sizeof(attributes), 0) != 0) {
    return ErrnoError(About("scheduling", tid));
  }
  return attributes;
}

Result<> SetAttributes(int tid, Attributes attributes) {
  attributes.size = sizeof(attributes);
  if (syscall(SYS_sched_setattr, tid, &attributes, 0) != 0 && errno != ESRCH) {
    return ErrnoError(About("set the scheduling", tid));
  }
  return {};
}

// What the kernel tells of a fair task that never asked for a slice: that of init or a kernel
// thread. Told as a value, it would become a wish of the task, hence "0: default".
std::uint64_t DefaultSlice() {
  const auto attributes = GetAttributes(1);
  return attributes && IsFair(attributes->policy) ? attributes->runtime : 0;
}

class CpuSet {
 public:
  CpuSet() : set_(CPU_ALLOC(kMaxCpus)) { CPU_ZERO_S(size(), set_); }
  ~CpuSet() { CPU_FREE(set_); }
  CpuSet(const CpuSet&) = delete;
  CpuSet& operator=(const CpuSet&) = delete;
  static std::size_t size() { return CPU_ALLOC_SIZE(kMaxCpus); }
  cpu_set_t* get() { return set_; }

 private:
  cpu_set_t* set_;
};

Result<std::vector<int>> GetCpus(int tid) {
  CpuSet set;
  if (sched_getaffinity(tid, CpuSet::size(), set.get()) != 0) {
    return ErrnoError(About("CPUs", tid));
  }
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (CPU_ISSET_S(cpu, CpuSet::size(), set.get())) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

Result<> SetCpus(int tid, const std::vector<int>& cpus) {
  CpuSet set;
  for (const int cpu : cpus) {
    CPU_SET_S(cpu, CpuSet::size(), set.get());
  }
  if (sched_setaffinity(tid, CpuSet::size(), set.get()) != 0 && errno != ESRCH) {
    return ErrnoError(About("set the CPUs", tid));
  }
  return {};
}

std::uint64_t ToNumber(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

Result<TaskIdentity> ReadTaskIdentity(int tid) {
  const std::string stat = TRY(ReadSmallFile(TaskFile(tid, "stat")));
  const std::string status = TRY(ReadSmallFile(TaskFile(tid, "status")));
  TaskIdentity task{.tid = tid};
  // The name is in brackets and may hold anything, brackets and blanks too.
  const auto bracket = stat.rfind(')');
  const auto group = status.find("\nTgid:\t");
  if (bracket == std::string::npos || group == std::string::npos) {
    return MakeError(ErrorCode::kInternal, TaskFile(tid, "stat") + ": not understood");
  }
  std::istringstream fields(stat.substr(bracket + 1));
  fields >> task.state >> task.parent;
  std::string field;
  for (int number = 5; number <= 22 && fields >> field; ++number) {
    if (number == 22) {
      task.start_time = ToNumber(field);
    }
  }
  task.tgid = static_cast<int>(ToNumber(std::string_view(status).substr(group + 7, 12)));
  return task;
}

void to_json(nlohmann::json& json, const TaskScheduling& task) {
  json = {{"tid", task.tid},           {"tgid", task.tgid},   {"start", task.start_time},
          {"policy", task.policy},     {"flags", task.flags}, {"nice", task.nice},
          {"priority", task.priority}, {"slice", task.slice}, {"cpus", task.cpus},
          {"slack", task.timer_slack}};
}

void from_json(const nlohmann::json& json, TaskScheduling& task) {
  json.at("tid").get_to(task.tid);
  json.at("tgid").get_to(task.tgid);
  json.at("start").get_to(task.start_time);
  json.at("policy").get_to(task.policy);
  json.at("flags").get_to(task.flags);
  json.at("nice").get_to(task.nice);
  json.at("priority").get_to(task.priority);
  json.at("slice").get_to(task.slice);
  json.at("cpus").get_to(task.cpus);
  json.at("slack").get_to(task.timer_slack);
}

Result<TaskScheduling> ReadTaskScheduling(int tid) {
  const TaskIdentity identity = TRY(ReadTaskIdentity(tid));
  const Attributes attributes = TRY(GetAttributes(tid));
  TaskScheduling task{.tid = tid, .tgid = identity.tgid, .start_time = identity.start_time};
  task.policy = attributes.policy;
  task.flags = attributes.flags & kResetOnFork;
  task.nice = attributes.nice;
  task.priority = attributes.priority;
  if (IsFair(attributes.policy) && attributes.runtime != DefaultSlice()) {
    task.slice = attributes.runtime;
  }
  task.cpus = TRY(GetCpus(tid));
  // Missing without CAP_SYS_NICE, or for a task that is ending.
  task.timer_slack =
      ToNumber(ReadSmallFile(TaskFile(tid, "timerslack_ns")).value_or(std::string()));
  return task;
}

Result<> MakeFifo(int tid) { return SetAttributes(tid, {.policy = SCHED_FIFO, .priority = 1}); }

bool IsFifo(int tid) {
  const auto attributes = GetAttributes(tid);
  return attributes && attributes->policy == SCHED_FIFO && attributes->priority == 1;
}

Result<> RestoreTaskScheduling(const TaskScheduling& task) {
  TRY(SetAttributes(task.tid, {.policy = task.policy,
                               .flags = task.flags,
                               .nice = task.nice,
                               .priority = task.priority,
                               .runtime = task.slice}));
  const auto cpus = GetCpus(task.tid);
  if (cpus && *cpus != task.cpus) {
    TRY(SetCpus(task.tid, task.cpus));
  }
  const std::string slack_file = TaskFile(task.tid, "timerslack_ns");
  const auto slack = ReadSmallFile(slack_file);
  if (slack && task.timer_slack != 0 && ToNumber(*slack) != task.timer_slack) {
    static_cast<void>(WriteControlFile(slack_file, std::to_string(task.timer_slack)));
  }
  return {};
}

Result<> ConfineTask(int tid, int cpu) { return SetCpus(tid, {cpu}); }

}  // namespace migrate
