#include "recorder/record_preflight.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/limits.h"
#include "recorder/outside_ends.h"
#include "recorder/preflight.h"
#include "recorder/process_scan.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProfileHint =
    "turn it off in the program, or start the container with the profile of `migrate "
    "seccomp-profile`: most programs then take another way";

bool IsDevice(const fs::path& link) {
  struct statx info {};
  return statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &info) == 0 &&
         (S_ISCHR(info.stx_mode) || S_ISBLK(info.stx_mode));
}

class RecordingInspection {
 public:
  RecordingInspection(int init_pid, const fs::path& cgroup)
      : init_{.pid = init_pid},
        cgroup_(cgroup),
        processes_(ReadProcesses(cgroup)),
        blockers_(InspectContainerTasks(init_pid, cgroup)) {}

  std::vector<Blocker> Run() && {
    if (processes_.empty()) {
      return {};
    }
    for (const Process& process : processes_) {
      CheckState(process);
      CheckMappings(process);
    }
    CheckNamespaces();
    CheckOutsideEnds();
    return std::move(blockers_);
  }

 private:
  // Each code and subject once, however many of them there are.
  void Add(const char* code, const std::string& subject, std::string detail, std::string remedy) {
    if (reported_.insert({code, subject}).second) {
      blockers_.push_back({code, subject, std::move(detail), std::move(remedy)});
    }
  }

  // The recorder traces every task, and the kernel lets nobody seize one that is stopped and frozen.
  void CheckState(const Process& process) {
    const auto status = ReadSmallFile(process.directory() / "status");
    if (status && status->find("\nState:\tT") != std::string::npos) {
      Add("TASK_STOPPED", process.Label(), "is stopped by a signal",
          "continue it (kill -CONT " + std::to_string(process.pid) + "), or end it");
    }
  }

  void CheckMappings(const Process& process) {
    for (const FileMapping& mapping : ReadMappings(process)) {
      const std::string at = " (at " + mapping.range + ")";
      if (mapping.name.starts_with("/[aio]")) {
        Add("AIO", process.Label(),
            "has an AIO context" + at + ", in which the kernel writes without a system call",
            kProfileHint);
      } else if (mapping.shared && mapping.name.starts_with("/dev/") &&
                 IsDevice(process.directory() / "map_files" / mapping.range)) {
        Add("DEVICE", process.Label(), "has the device " + mapping.name + " mapped" + at,
            "end its use; a device belongs to this host");
      }
    }
  }

  // A process outside that shares the namespace; itself a container, or all of this host.
  void CheckNamespaces() {
    const std::string pid_namespace = init_.Namespace("pid");
    const std::string ipc_namespace = init_.Namespace("ipc");
    std::set<int> inside;
    for (const Process& process : processes_) {
      inside.insert(process.pid);
    }
    for (const int pid : AllProcesses()) {
      const Process other{.pid = pid};
      if (inside.contains(pid)) {
        continue;
      }
      if (!pid_namespace.empty() && other.Namespace("pid") == pid_namespace) {
        AddNamespace("SHARED_PID_NAMESPACE", "pid", other,
                     "its signals and process numbers are those of both");
      }
      if (!ipc_namespace.empty() && other.Namespace("ipc") == ipc_namespace) {
        AddNamespace("SHARED_IPC_NAMESPACE", "IPC", other,
                     "what both write to shared memory, queues and semaphores cannot be recorded");
      }
    }
  }

  void AddNamespace(const char* code, const std::string& kind, const Process& other,
                    const std::string& why) {
    if (reported_.contains({code, kind})) {
      return;
    }
    // Born in the container, or let in, since its processes were listed: then it does not count.
    const auto inside = CgroupProcesses(cgroup_).value_or(std::vector<int>());
    const auto now = ReadProcess(other.pid);
    if (!now || std::find(inside.begin(), inside.end(), other.pid) != inside.end()) {
      return;
    }
    Add(code, kind,
        "the container shares its " + kind + " namespace with " + now->Label() +
            ", which is not in it: " + why,
        "give the container a namespace of its own: start it without --pid and --ipc");
  }

  void CheckOutsideEnds() {
    const auto ends = FindOutsideEnds(init_.pid, cgroup_);
    if (!ends) {
      if (!init_.Namespace("net").empty()) {  // else it has just ended
        Add("NO_SOCKET_DIAG", "unix sockets",
            "this kernel does not say who is at the other end of one: " + ends.error().message,
            "load the module unix_diag");
      }
      return;
    }
    for (const OutsideEnd& end : *ends) {
      AddOutsideEnd(end);
    }
  }

  void AddOutsideEnd(const OutsideEnd& end) {
    const std::string other = end.outside.Label() + ", which is not in the container";
    switch (end.kind) {
      case OutsideEnd::Kind::kPipe:
        // Those of the engine come anew at the target, and what is read from them is in the log.
        if (!end.standard_stream) {
          Add("OUTSIDE_PIPE", end.inside.Label(),
              "shares the pipe " + end.name + " (" + end.place + ") with " + other, "close it");
        }
        return;
      case OutsideEnd::Kind::kUnixSocket:
        Add("OUTSIDE_SOCKET", end.inside.Label(),
            "is connected by the unix socket " + end.name + " (" + end.place + ") to " + other,
            "close the connection; the other end stays on this host");
        return;
      case OutsideEnd::Kind::kMapping:
        Add("SHARED_MEMORY", end.inside.Label(),
            "shares the memory of " + end.name + " (at " + end.place + ") with " + other,
            "end one of the two, or give each its own");
        return;
    }
  }

  const Process init_;
  const fs::path cgroup_;
  const std::vector<Process> processes_;
  std::vector<Blocker> blockers_;
  std::set<std::pair<std::string, std::string>> reported_;
};

// --- notes ---

// The field after the name, which is in parentheses and may contain anything.
bool IsRunnable(const fs::path& task) {
  const auto stat = ReadSmallFile(task / "stat").value_or("");
  const auto name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.substr(name_end).starts_with(") R");
}

int RunnableTasks(const fs::path& cgroup) {
  int count = 0;
  for (const int tid : CgroupTasks(cgroup).value_or(std::vector<int>())) {
    count += IsRunnable("/proc/" + std::to_string(tid)) ? 1 : 0;
  }
  return count;
}

// Empty: none. As the kernel says it, v1 and v2.
std::string CpuQuota(int init_pid) {
  for (const auto& [file, unlimited] :
       {std::pair{"cpu.cfs_quota_us", "-1"}, std::pair{"cpu.max", "max"}}) {
    const auto cgroup = FindControllerCgroup(init_pid, "cpu", {}, file);
    if (!cgroup || !*cgroup) {
      continue;
    }
    const auto text = ReadSmallFile(**cgroup / file);
    if (text && !text->starts_with(unlimited)) {
      return std::string(file) + " = " + text->substr(0, text->find('\n'));
    }
  }
  return {};
}

// --- kernel ---

constexpr std::array kTracepoints{"sys_exit",           "task_newtask",   "sched_process_exec",
                                  "sched_process_exit", "signal_deliver", "sched_switch"};

// The smallest program of the kind that recorder/capture.bpf.c is made of: 0, or why not.
int TryTracepoint(const char* name) {
  const int type = libbpf_find_vmlinux_btf_id(name, BPF_TRACE_RAW_TP);
  if (type < 0) {
    return -type;
  }
  const std::array<bpf_insn, 2> program{
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  bpf_prog_load_opts options{};
  options.sz = sizeof options;
  options.expected_attach_type = BPF_TRACE_RAW_TP;
  options.attach_btf_id = static_cast<std::uint32_t>(type);
  const OwnedFd loaded(bpf_prog_load(BPF_PROG_TYPE_TRACING, "migrate_probe", "GPL", program.data(),
                                     program.size(), &options));
  return loaded ? 0 : errno;
}

bool HasMap(bpf_map_type type) { return libbpf_probe_bpf_map_type(type, nullptr) == 1; }

// Asked with the simplest map, which every kernel with BPF has.
std::string BpfRefusal() {
  const OwnedFd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "migrate_probe", 4, 4, 1, nullptr));
  return map ? std::string() : std::string(std::strerror(errno));
}

// 3: nobody may attach, not even root.
bool IsTracingForbidden() {
  return ReadSmallFile("/proc/sys/kernel/yama/ptrace_scope").value_or("").starts_with('3');
}

}  // namespace

std::vector<Blocker> InspectForRecording(int init_pid, const fs::path& cgroup) {
  return RecordingInspection(init_pid, cgroup).Run();
}

std::vector<Blocker> NotesForRecording(int init_pid, const fs::path& cgroup) {
  std::vector<Blocker> notes;
  if (const int runnable = RunnableTasks(cgroup); runnable > limits::kRunnableTasksNoted) {
    notes.push_back({"BUSY_TASKS", std::to_string(runnable) + " tasks",
                     "want a CPU at the same time; while recorded they share one",
                     "expect it to be slower while it is recorded"});
  }
  if (const std::string quota = CpuQuota(init_pid); !quota.empty()) {
    notes.push_back({"CPU_QUOTA", quota, "the quota does not hold while it is recorded",
                     "expect it to use more of one CPU than it may"});
  }
  return notes;
}

RecordingKernel ProbeRecordingKernel() {
  RecordingKernel kernel;
  kernel.tracing_forbidden = IsTracingForbidden();
  kernel.bpf_refusal = BpfRefusal();
  if (!kernel.bpf_refusal.empty()) {
    return kernel;
  }
  kernel.type_information = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  kernel.ring_buffer = HasMap(BPF_MAP_TYPE_RINGBUF);
  kernel.task_storage = HasMap(BPF_MAP_TYPE_TASK_STORAGE);
  kernel.loops = libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop, nullptr) == 1;
  for (const char* tracepoint : kTracepoints) {
    if (TryTracepoint(tracepoint) != 0) {
      kernel.missing_tracepoints.push_back(tracepoint);
    }
  }
  return kernel;
}

std::vector<Blocker> BlockersOf(const RecordingKernel& kernel) {
  std::vector<Blocker> blockers;
  const auto add = [&](const char* code, const char* subject, std::string detail,
                       const char* remedy) {
    blockers.push_back({code, subject, std::move(detail), remedy});
  };
  if (kernel.tracing_forbidden) {
    add("NO_PTRACE", "kernel.yama.ptrace_scope", "is 3: no process may be traced, not even by root",
        "set it to less in /etc/sysctl.d and restart the host; it cannot be taken back");
  }
  if (!kernel.bpf_refusal.empty()) {
    add("BPF_REFUSED", "bpf", "the kernel refuses BPF: " + kernel.bpf_refusal,
        "run the daemon as root, outside of a container, on a kernel with CONFIG_BPF_SYSCALL");
    return blockers;  // of the rest nothing is known
  }
  if (!kernel.type_information) {
    add("NO_BTF", "/sys/kernel/btf/vmlinux", "the kernel does not describe its own types",
        "use a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's");
  }
  if (!kernel.ring_buffer) {
    add("NO_BPF_RING_BUFFER", "BPF_MAP_TYPE_RINGBUF", "the kernel has no such map",
        "use Linux 5.17 or newer");
  }
  if (!kernel.task_storage) {
    add("NO_BPF_TASK_STORAGE", "BPF_MAP_TYPE_TASK_STORAGE", "the kernel has no such map",
        "use Linux 5.17 or newer, with CONFIG_DEBUG_INFO_BTF");
  }
  if (!kernel.loops) {
    add("NO_BPF_LOOP", "bpf_loop", "the kernel has no such function", "use Linux 5.17 or newer");
  }
  for (const std::string& tracepoint : kernel.missing_tracepoints) {
    add("NO_TRACEPOINT", tracepoint.c_str(), "no program can be attached to it with its types",
        "use a kernel with CONFIG_BPF_EVENTS, CONFIG_FTRACE_SYSCALLS and CONFIG_DEBUG_INFO_BTF");
  }
  return blockers;
}

std::vector<Blocker> InspectKernelForRecording() { return BlockersOf(ProbeRecordingKernel()); }

}  // namespace migrate
