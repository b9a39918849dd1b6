// A test program: does the log explain every byte that the kernel writes into a process?
//
//   capture_oracle [--verbose] PROGRAM [ARGUMENT...]
//
// Runs the program in a pid namespace of its own under two observers at once: the recorder, and
// ptrace with a comparison of the process's whole writable memory before and after each of its
// system calls. Whatever has changed must lie in a span of the event, with the bytes that are there
// now. Slow and exact. A call during which another task of the same memory ran cannot be compared
// and is counted as skipped; so are calls that change the mappings themselves.
//
// The last line is JSON: {"program":..,"calls":..,"compared":..,"skipped":..,"unexplained":..,
// "events":..,"exit":..}; the exit code is 0 if nothing is unexplained and the program ended with 0
// (or 77, which a probe says that is not possible here).
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/event_frame.h"
#include "proto/syscall_table.h"
#include "recorder/capture.h"

namespace migrate {
namespace {

bool g_verbose = false;

// ---- memory ----

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct Region {
  uint64_t begin = 0;
  std::vector<std::byte> bytes;
};
using Snapshot = std::vector<Region>;

// Private and writable: shared memory may change at any time.
Snapshot TakeSnapshot(int pid) {
  Snapshot snapshot;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::string line;
  while (std::getline(maps, line)) {
    uint64_t begin = 0;
    uint64_t end = 0;
    std::array<char, 5> mode{};
    if (sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s", &begin, &end, mode.data()) != 3 ||
        mode[0] != 'r' || mode[1] != 'w' || mode[3] != 'p') {
      continue;
    }
    Region region{begin, std::vector<std::byte>(end - begin)};
    iovec to{region.bytes.data(), region.bytes.size()};
    iovec from{reinterpret_cast<void*>(begin), region.bytes.size()};
    const ssize_t got = process_vm_readv(pid, &to, 1, &from, 1, 0);
    if (got > 0) {
      region.bytes.resize(static_cast<size_t>(got));
      snapshot.push_back(std::move(region));
    }
  }
  return snapshot;
}

// Bytes that differ, where both snapshots have memory.
std::vector<Range> Difference(const Snapshot& before, const Snapshot& after) {
  std::vector<Range> ranges;
  for (const Region& now : after) {
    for (const Region& then : before) {
      const uint64_t begin = std::max(now.begin, then.begin);
      const uint64_t end =
          std::min(now.begin + now.bytes.size(), then.begin + then.bytes.size());
      if (begin >= end) {
        continue;
      }
      const std::byte* a = then.bytes.data() + (begin - then.begin);
      const std::byte* b = now.bytes.data() + (begin - now.begin);
      const uint64_t size = end - begin;
      if (memcmp(a, b, size) == 0) {
        continue;
      }
      for (uint64_t at = 0; at < size; at++) {
        if (a[at] == b[at]) {
          continue;
        }
        if (!ranges.empty() && ranges.back().end == begin + at) {
          ranges.back().end++;
        } else {
          ranges.push_back({begin + at, begin + at + 1});
        }
      }
    }
  }
  return ranges;
}

std::optional<std::byte> ByteAt(const Snapshot& snapshot, uint64_t address) {
  for (const Region& region : snapshot) {
    if (address >= region.begin && address < region.begin + region.bytes.size()) {
      return region.bytes[address - region.begin];
    }
  }
  return std::nullopt;
}

// ---- the traced program ----

struct Task {
  int process = 0;  // tgid
  uint32_t tid = 0;  // in its namespace
  bool in_call = false;
  bool skip = false;  // somebody else with this memory ran since the call began
  long number = -1;
  std::array<uint64_t, EVENT_MAX_ARGS> args{};
  Snapshot before;
  std::optional<Range> rseq;
};

// A call as ptrace has seen it; compared when its event has come.
struct Seen {
  long number = -1;
  int64_t result = 0;
  bool skip = false;
  std::vector<Range> changed;
  Snapshot after;
};

struct Totals {
  uint64_t calls = 0;
  uint64_t compared = 0;
  uint64_t skipped = 0;
  uint64_t unexplained = 0;
  uint64_t wrong_bytes = 0;
  uint64_t missing_events = 0;
};

bool ChangesMappings(long number) {
  static const std::set<long> calls = {SYS_mmap,   SYS_munmap, SYS_mremap, SYS_brk,
                                       SYS_madvise, SYS_execve, SYS_execveat, SYS_shmat,
                                       SYS_shmdt,  SYS_remap_file_pages, SYS_exit,
                                       SYS_exit_group, SYS_rt_sigreturn, SYS_vfork};
  return calls.contains(number);
}

uint32_t NamespaceTid(int tid) {
  std::ifstream status("/proc/" + std::to_string(tid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("NSpid:")) {
      return static_cast<uint32_t>(std::stoul(line.substr(line.rfind('\t') + 1)));
    }
  }
  return 0;
}

int ProcessOf(int tid) {
  std::ifstream status("/proc/" + std::to_string(tid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("Tgid:")) {
      return std::stoi(line.substr(line.rfind('\t') + 1));
    }
  }
  return tid;
}

class Oracle {
 public:
  explicit Oracle(Capture& capture) : capture_(capture) {}

  // Until every task is gone. The exit status of the program.
  int Run(int init);
  const Totals& totals() const { return totals_; }
  const std::string& problem() const { return problem_; }

 private:
  void OnStop(int tid, int status);
  void OnCallEntry(int tid, Task& task);
  void OnCallExit(int tid, Task& task);
  void OthersRan(const Task& who, int tid);
  void Drain();
  void OnEvent(const Event& event);
  void Compare(const Event& event, const Seen& seen);
  Task& TaskOf(int tid);

  Capture& capture_;
  EventAssembler assembler_;
  std::map<int, Task> tasks_;
  std::map<uint32_t, std::deque<Seen>> seen_;  // by tid in the namespace
  std::map<uint32_t, std::vector<Range>> written_meanwhile_;
  Totals totals_;
  std::string problem_;
};

Task& Oracle::TaskOf(int tid) {
  auto [it, fresh] = tasks_.try_emplace(tid);
  if (fresh) {
    it->second.process = ProcessOf(tid);
    it->second.tid = NamespaceTid(tid);
  }
  return it->second;
}

// `who` goes on in user mode: the memory of the others that share it is not theirs alone.
void Oracle::OthersRan(const Task& who, int tid) {
  for (auto& [other, task] : tasks_) {
    if (other != tid && task.process == who.process && task.in_call) {
      task.skip = true;
    }
  }
}

void Oracle::OnCallEntry(int tid, Task& task) {
  user_regs_struct regs{};
  ptrace(PTRACE_GETREGS, tid, nullptr, &regs);
  task.in_call = true;
  task.skip = false;
  task.number = static_cast<long>(regs.orig_rax);
  task.args = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};
  if (task.number == SYS_rseq) {
    task.rseq = Range{regs.rdi, regs.rdi + 64};
  }
  // Another task of this process that is in user mode now runs beside the call.
  for (const auto& [other, candidate] : tasks_) {
    if (other != tid && candidate.process == task.process && !candidate.in_call) {
      task.skip = true;
    }
  }
  task.before = ChangesMappings(task.number) || task.skip ? Snapshot() : TakeSnapshot(tid);
}

void Oracle::OnCallExit(int tid, Task& task) {
  user_regs_struct regs{};
  ptrace(PTRACE_GETREGS, tid, nullptr, &regs);
  Seen seen;
  seen.number = task.number;
  seen.result = static_cast<int64_t>(regs.rax);
  seen.skip = task.skip || ChangesMappings(task.number);
  if (!seen.skip) {
    seen.after = TakeSnapshot(tid);
    seen.changed = Difference(task.before, seen.after);
    if (task.rseq) {
      std::erase_if(seen.changed, [&](const Range& range) {
        return range.begin >= task.rseq->begin && range.end <= task.rseq->end;
      });
    }
    if (seen.changed.empty()) {
      seen.after.clear();  // nothing will be looked up
    }
  }
  task.in_call = false;
  task.before.clear();
  totals_.calls++;
  seen_[task.tid].push_back(std::move(seen));
  OthersRan(task, tid);
  Drain();
}

void Oracle::Compare(const Event& event, const Seen& seen) {
  if (seen.skip) {
    totals_.skipped++;
    return;
  }
  totals_.compared++;
  const SyscallRow* row = FindSyscall(static_cast<int>(seen.number));
  const std::string name(row == nullptr ? "?" : row->name);
  for (const Range& range : seen.changed) {
    for (uint64_t address = range.begin; address < range.end; address++) {
      std::optional<std::byte> logged;
      for (const EventSpan& span : event.spans) {
        if (address >= span.address && address < span.address + span.bytes.size()) {
          logged = span.bytes[address - span.address];
        }
      }
      if (!logged) {
        totals_.unexplained++;
        printf("oracle: %s = %" PRId64 ": bytes %" PRIx64 "-%" PRIx64
               " are not in the log (args %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 ")\n",
               name.c_str(), seen.result, address, range.end, event.args[0], event.args[1],
               event.args[2], event.args[3]);
        break;
      }
      if (*logged != ByteAt(seen.after, address)) {
        totals_.wrong_bytes++;
        printf("oracle: %s = %" PRId64 ": the byte at %" PRIx64 " is logged wrong\n", name.c_str(),
               seen.result, address);
        break;
      }
    }
  }
}

void Oracle::OnEvent(const Event& event) {
  if (event.kind == EVENT_PROBLEM) {
    problem_ = "problem " + std::to_string(event.number) + ", " + std::to_string(event.args[0]);
    return;
  }
  if (event.kind != EVENT_SYSCALL) {
    return;
  }
  auto& queue = seen_[event.tid];
  // ptrace and the recorder see the same calls in the same order; the first ones of a task may be
  // older than the tracing.
  if (queue.empty() || queue.front().number != event.number) {
    totals_.missing_events++;
    if (g_verbose) {
      printf("oracle: event of %d in task %u without a stop\n", event.number, event.tid);
    }
    return;
  }
  const Seen seen = std::move(queue.front());
  queue.pop_front();
  Compare(event, seen);
}

void Oracle::Drain() {
  const auto consumed = capture_.Consume([&](std::span<const std::byte> frame) -> Result<void> {
    Event event;
    const FrameResult parsed = ParseFrame(frame, event);
    if (parsed.status != FrameStatus::kFrame) {
      return MakeError(ErrorCode::kDataLoss, std::string(parsed.reason));
    }
    if (assembler_.Add(event) == EventAssembler::Status::kEvent) {
      OnEvent(event);
    }
    return {};
  });
  if (!consumed) {
    problem_ = consumed.error().message;
  }
}

void Oracle::OnStop(int tid, int status) {
  Task& task = TaskOf(tid);
  const int signal = WSTOPSIG(status);
  const int event = status >> 16;
  long deliver = 0;
  if (signal == (SIGTRAP | 0x80)) {
    if (task.in_call) {
      OnCallExit(tid, task);
    } else {
      OnCallEntry(tid, task);
    }
  } else if (event == PTRACE_EVENT_STOP) {
    if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) {
      ptrace(PTRACE_LISTEN, tid, nullptr, nullptr);
      return;
    }
  } else if (event == PTRACE_EVENT_EXEC) {
    tasks_.erase(tid);
    Task& fresh = TaskOf(tid);
    fresh.in_call = true;  // its exit stop is still to come
    fresh.skip = true;
    fresh.number = SYS_execve;
  } else if (event == 0) {
    deliver = signal;
    OthersRan(task, tid);
  }
  ptrace(PTRACE_SYSCALL, tid, nullptr, deliver);
}

int Oracle::Run(int init) {
  int exit_status = -1;
  for (;;) {
    int status = 0;
    const int tid = waitpid(-1, &status, __WALL);
    if (tid < 0) {
      return exit_status;
    }
    if (WIFSTOPPED(status)) {
      OnStop(tid, status);
      continue;
    }
    tasks_.erase(tid);
    if (tid == init) {
      exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
}

// ---- start ----

// Process 1 of a namespace ignores signals that it has no handler for, so the program is its child.
[[noreturn]] void BeInit(int go, char** program) {
  char byte = 0;
  if (read(go, &byte, 1) != 1) {
    _exit(126);
  }
  const pid_t child = fork();
  if (child == 0) {
    execvp(program[0], program);
    _exit(127);
  }
  int result = 126;
  for (;;) {
    int status = 0;
    const pid_t ended = wait(&status);
    if (ended < 0) {
      _exit(result);
    }
    if (ended == child) {
      result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
}

int Fail(const std::string& what) {
  fprintf(stderr, "capture_oracle: %s\n", what.c_str());
  return 2;
}

int Main(int argc, char** argv) {
  int first = 1;
  if (first < argc && std::string_view(argv[first]) == "--verbose") {
    g_verbose = true;
    first++;
  }
  if (first >= argc) {
    return Fail("usage: capture_oracle [--verbose] PROGRAM [ARGUMENT...]");
  }
  std::array<int, 2> go{};
  if (pipe2(go.data(), O_CLOEXEC) != 0) {
    return Fail("pipe");
  }
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID;
  arguments.exit_signal = SIGCHLD;
  const auto init = static_cast<int>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (init == 0) {
    BeInit(go[0], argv + first);
  }
  if (init < 0) {
    return Fail("clone: " + std::string(strerror(errno)));
  }
  const auto rows = CaptureRows();
  CaptureOptions options;
  options.init_pid = init;
  options.rows = rows;
  options.log_own_copies = true;
  for (const CommandSize& command : CommandSizes()) {
    options.commands.push_back({command.key, command.size});
  }
  auto capture = Capture::Load(options);
  if (!capture) {
    kill(init, SIGKILL);
    return Fail(capture.error().message);
  }
  if (auto attached = (*capture)->Attach(); !attached) {
    kill(init, SIGKILL);
    return Fail(attached.error().message);
  }
  constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                            PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (ptrace(PTRACE_SEIZE, init, nullptr, kOptions) != 0 ||
      ptrace(PTRACE_INTERRUPT, init, nullptr, nullptr) != 0) {
    kill(init, SIGKILL);
    return Fail("ptrace: " + std::string(strerror(errno)));
  }
  (*capture)->Arm();
  if (write(go[1], "g", 1) != 1) {
    return Fail("write");
  }
  Oracle oracle(**capture);
  const int exit_status = oracle.Run(init);
  const Totals& totals = oracle.totals();
  const CaptureStats stats = (*capture)->stats();
  if (!oracle.problem().empty()) {
    printf("oracle: the recording ended: %s\n", oracle.problem().c_str());
  }
  printf("{\"program\":\"%s\",\"calls\":%" PRIu64 ",\"compared\":%" PRIu64 ",\"skipped\":%" PRIu64
         ",\"unexplained\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"unmatched\":%" PRIu64
         ",\"events\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"problem\":%s,\"exit\":%d}\n",
         argv[first], totals.calls, totals.compared, totals.skipped, totals.unexplained,
         totals.wrong_bytes, totals.missing_events, stats.events, stats.lost,
         oracle.problem().empty() ? "false" : "true", exit_status);
  const bool explained = totals.unexplained == 0 && totals.wrong_bytes == 0 && stats.lost == 0 &&
                         oracle.problem().empty();
  return explained && (exit_status == 0 || exit_status == 77) ? 0 : 1;
}

}  // namespace
}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main(argc, argv); }
