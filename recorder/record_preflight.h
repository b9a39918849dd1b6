// What keeps a container from being recorded, or its log from being replayed, found before anything
// is touched: with it the container can only be moved by stopping and copying. And what this kernel
// lacks for the recorder. RDRAND, and writes of outside programs to files that the container reads,
// leave no trace in /proc: verification finds those.
// Reading only (the kernel is asked by loading programs that are dropped at once, which needs
// root); thread-safe. Takes some milliseconds per hundred processes of the host.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/blocker.h"

namespace migrate {

// Everything of InspectContainerTasks (recorder/preflight.h), so that only one of them is needed,
// and: TASK_STOPPED, AIO, DEVICE (mapped), SHARED_MEMORY, OUTSIDE_SOCKET, OUTSIDE_PIPE, SHARED_PID_NAMESPACE,
// SHARED_IPC_NAMESPACE, NO_SOCKET_DIAG.
std::vector<Blocker> InspectForRecording(int init_pid, const std::filesystem::path& cgroup);

// What can be recorded but suffers from it, at this moment: BUSY_TASKS, CPU_QUOTA.
std::vector<Blocker> NotesForRecording(int init_pid, const std::filesystem::path& cgroup);

// What the kernel can do for the recorder.
struct RecordingKernel {
  std::string bpf_refusal;  // why it loads no program at all; empty: it does
  bool type_information = false;
  bool ring_buffer = false;
  bool task_storage = false;
  bool loops = false;
  std::vector<std::string> missing_tracepoints;
  bool tracing_forbidden = false;  // ptrace, by Yama
};
RecordingKernel ProbeRecordingKernel();
// BPF_REFUSED, or NO_BTF, NO_BPF_RING_BUFFER, NO_BPF_TASK_STORAGE, NO_BPF_LOOP, NO_TRACEPOINT; and
// NO_PTRACE.
std::vector<Blocker> BlockersOf(const RecordingKernel& kernel);

std::vector<Blocker> InspectKernelForRecording();

}  // namespace migrate
