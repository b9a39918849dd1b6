// A test program: does the log explain every byte that the kernel writes into a process?
//
//   capture_oracle [--verbose] PROGRAM [ARGUMENT...]
//
// Runs the program on one CPU, in pid, IPC and mount namespaces of its own, under two observers at
// once: the recorder, and ptrace with a comparison of the process's whole private memory before and
// after each of its system calls. Whatever has changed must lie in an output span of an event that
// was logged meanwhile by a task with that memory, with the bytes that are there now. Slow and
// exact.
//
// Of the tasks with the same memory one runs at a time, until it sleeps or its call ends. Not
// compared (counted as skipped) are calls that slept while another one ran its own instructions,
// and those that change the mappings themselves. A false answer of this program is mended here, by
// rule and with its reason, never by a list of probes.
//
// The last line is JSON; `unexplained` and `wrong` count ranges, `missing` calls without an event,
// `unmatched` events without a call, `gaps` what is wrong with the log itself. The exit code is 0
// if these are 0, no problem ended the recording, and the program ended with 0 (or 77: a probe that
// says it is not possible here).
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/syscall.h>
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

#include "proto/syscall_table.h"
#include "recorder/capture.h"
#include "recorder/oracle_log.h"
#include "recorder/oracle_memory.h"

namespace migrate {
namespace {

constexpr uint64_t kShownComplaints = 20;
bool g_verbose = false;

struct Task {
  uint32_t tid = 0;     // in its namespace
  int memory = 0;       // the same number: the same address space
  bool active = false;  // runs, alone of those with its memory
  bool held = false;    // stopped, and waits for its turn
  long signal = 0;      // that it gets then
  bool in_call = false;
  bool skip = false;  // somebody else with this memory ran since the call began
  long number = -1;
  uint64_t entry_lsn = 0;
  MemorySnapshot before;
};

struct Totals {
  uint64_t calls = 0;
  uint64_t compared = 0;
  uint64_t skipped = 0;
  uint64_t unexplained = 0;
  uint64_t wrong = 0;
  uint64_t missing = 0;
  uint64_t complaints = 0;
};

bool ChangesMappings(long number) {
  static const std::set<long> calls = {
      SYS_mmap,     SYS_munmap,        SYS_mremap, SYS_brk,      SYS_madvise, SYS_remap_file_pages,
      SYS_mprotect, SYS_pkey_mprotect, SYS_execve, SYS_execveat, SYS_shmat,   SYS_shmdt};
  return calls.contains(number);
}

// The number of semaphores is not known when it is logged; the replica executes the call.
bool IsNotLogged(long number, const user_regs_struct& regs) {
  return number == SYS_semctl && (regs.rdx & 0xff) == GETALL;
}

bool EndsTask(long number) { return number == SYS_exit || number == SYS_exit_group; }

// A field of /proc/TID/status, its last number; 0 if there is none.
uint32_t StatusNumber(int tid, std::string_view name) {
  std::ifstream status("/proc/" + std::to_string(tid) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(name)) {
      return static_cast<uint32_t>(std::stoul(line.substr(line.rfind('\t') + 1)));
    }
  }
  return 0;
}

// The letter of /proc/TID/stat: R runs, t is stopped for the tracer, others sleep or are gone.
char StateOf(int tid) {
  std::ifstream stat("/proc/" + std::to_string(tid) + "/stat");
  std::string line;
  std::getline(stat, line);
  const size_t end = line.rfind(')');
  return end == std::string::npos || end + 2 >= line.size() ? 'X' : line[end + 2];
}

class Oracle {
 public:
  explicit Oracle(Capture& capture) : log_(capture) {}

  // Until every task is gone. The exit status of the program.
  int Run(int init);
  const Totals& totals() const { return totals_; }
  const OracleLog& log() const { return log_; }

 private:
  void OnStop(int tid, int status);
  void OnEnd(int tid);
  void RunAlone(int tid, Task& task, long signal);
  void PassTurn(int memory);
  void PassTurnsOfSleepers();
  void AwaitOthersInCalls(const Task& who);
  void OnExec(int tid);
  void OnCallEntry(int tid, Task& task);
  void OnCallExit(int tid, Task& task);
  void Compare(const Task& task, const LoggedCall& call, int tid);
  void CompareRange(MemoryRange range, const MemorySnapshot& after,
                    const std::vector<const LoggedSpan*>& spans, const LoggedCall& call);
  void Complain(const char* what, const LoggedCall& call, const MemoryRange& range);
  void OthersRan(const Task& who);
  void Forget();
  Task& TaskOf(int tid);
  int MemoryOf(int tid);

  OracleLog log_;
  std::map<int, Task> tasks_;  // by tid outside
  std::deque<int> held_;       // in the order of their turns
  // The kernel writes the CPU number and the like there on its way back, whatever the call. The
  // replica's kernel does so too. Any task's: a fork inherits them.
  std::vector<MemoryRange> rseq_areas_;
  int next_memory_ = 1;
  Totals totals_;
};

int Oracle::MemoryOf(int tid) {
  for (const auto& [other, task] : tasks_) {
    if (other != tid && syscall(SYS_kcmp, tid, other, KCMP_VM, 0, 0) == 0) {
      return task.memory;
    }
  }
  return next_memory_++;
}

Task& Oracle::TaskOf(int tid) {
  auto [it, fresh] = tasks_.try_emplace(tid);
  if (fresh) {
    it->second.tid = StatusNumber(tid, "NSpid:");
    it->second.memory = MemoryOf(tid);
  }
  return it->second;
}

// `who` goes on in user mode: memory that others share with it is not theirs alone.
void Oracle::OthersRan(const Task& who) {
  for (auto& [tid, task] : tasks_) {
    if (&task != &who && task.memory == who.memory && task.in_call) {
      task.skip = true;
    }
  }
}

void Oracle::OnCallEntry(int tid, Task& task) {
  log_.Drain();
  user_regs_struct regs{};
  ptrace(PTRACE_GETREGS, tid, nullptr, &regs);
  task.number = static_cast<long>(regs.orig_rax);
  if (EndsTask(task.number)) {
    // The kernel clears the word that pthread_join waits for, and marks robust mutexes: the exit is
    // executed in the replica and does the same there. It counts as running until it is gone.
    return;
  }
  task.in_call = true;
  task.entry_lsn = log_.next_lsn();
  task.skip = ChangesMappings(task.number) || IsNotLogged(task.number, regs);
  if (task.number == SYS_rseq) {
    rseq_areas_.push_back({regs.rdi, regs.rdi + regs.rsi});
  }
  for (const auto& [other, candidate] : tasks_) {
    const bool runs = !candidate.in_call && !candidate.held;  // has slept in a page fault
    if (other != tid && candidate.memory == task.memory && runs) {
      task.skip = true;
    }
  }
  task.before = task.skip ? MemorySnapshot() : MemorySnapshot::Take(tid);
}

void Oracle::OnCallExit(int tid, Task& task) {
  AwaitOthersInCalls(task);
  log_.Drain();
  totals_.calls++;
  std::optional<LoggedCall> call = log_.Take(task.tid);
  user_regs_struct regs{};
  ptrace(PTRACE_GETREGS, tid, nullptr, &regs);
  if (!call || call->number != task.number || call->result != static_cast<int64_t>(regs.rax)) {
    if (log_.problem().empty()) {
      totals_.missing++;
      printf("oracle: syscall %ld = %lld of task %u is not in the log (%s)\n", task.number,
             static_cast<long long>(regs.rax), task.tid, call ? "another one is" : "none is");
    }
  } else {
    if (task.skip) {
      totals_.skipped++;
    } else {
      Compare(task, *call, tid);
    }
  }
  task.in_call = false;
  task.before = MemorySnapshot();
  Forget();
}

void Oracle::Compare(const Task& task, const LoggedCall& call, int tid) {
  totals_.compared++;
  const MemorySnapshot after = MemorySnapshot::Take(tid);
  std::set<uint32_t> tids;
  for (const auto& [other, candidate] : tasks_) {
    if (candidate.memory == task.memory) {
      tids.insert(candidate.tid);
    }
  }
  const auto spans = log_.SpansSince(task.entry_lsn, tids);
  for (const MemoryRange& range : task.before.ChangesUntil(after)) {
    const bool rseq = std::ranges::any_of(rseq_areas_, [&](const MemoryRange& area) {
      return range.begin >= area.begin && range.end <= area.end;
    });
    if (!rseq) {
      CompareRange(range, after, spans, call);
    }
  }
}

// Of several spans the last one counts.
void Oracle::CompareRange(MemoryRange range, const MemorySnapshot& after,
                          const std::vector<const LoggedSpan*>& spans, const LoggedCall& call) {
  while (range.begin < range.end) {
    const LoggedSpan* found = nullptr;
    uint64_t end = range.end;  // of the piece that one span decides
    for (const LoggedSpan* span : spans) {
      if (range.begin >= span->address && range.begin < span->end()) {
        found = span;
        end = std::min(range.end, span->end());
      } else if (span->address > range.begin) {
        end = std::min(end, span->address);
      }
    }
    const MemoryRange piece{range.begin, end};
    range.begin = end;
    if (found == nullptr) {
      totals_.unexplained++;
      Complain("is not in the log", call, piece);
      continue;
    }
    const auto now = after.At(piece);
    if (memcmp(now.data(), found->bytes.data() + (piece.begin - found->address), now.size()) != 0) {
      totals_.wrong++;
      Complain("is logged wrong", call, piece);
    }
  }
}

void Oracle::Complain(const char* what, const LoggedCall& call, const MemoryRange& range) {
  if (totals_.complaints++ >= kShownComplaints && !g_verbose) {
    return;
  }
  const SyscallRow* row = FindSyscall(static_cast<int>(call.number));
  printf("oracle: %s = %" PRId64 ": %" PRIx64 "-%" PRIx64 " %s (event %" PRIu64 ", task %u, args",
         row == nullptr ? "?" : std::string(row->name).c_str(), call.result, range.begin, range.end,
         what, call.lsn, call.tid);
  for (const uint64_t arg : call.args) {
    printf(" %" PRIx64, arg);
  }
  printf(")\n");
}

// Events that are older than every call under way explain nothing any more.
void Oracle::Forget() {
  uint64_t oldest = log_.next_lsn();
  for (const auto& [tid, task] : tasks_) {
    if (task.in_call && !task.skip) {
      oldest = std::min(oldest, task.entry_lsn);
    }
  }
  log_.Forget(oldest);
}

// ---- who runs ----

// Into user mode, now or when it is its turn.
void Oracle::RunAlone(int tid, Task& task, long signal) {
  task.active = false;
  task.held = true;
  task.signal = signal;
  held_.push_back(tid);
  PassTurn(task.memory);
}

void Oracle::PassTurn(int memory) {
  for (const auto& [tid, task] : tasks_) {
    if (task.memory == memory && task.active) {
      return;
    }
  }
  for (auto next = held_.begin(); next != held_.end(); ++next) {
    const auto found = tasks_.find(*next);
    if (found == tasks_.end() || found->second.memory != memory || !found->second.held) {
      continue;
    }
    Task& task = found->second;
    task.held = false;
    task.active = true;
    OthersRan(task);
    ptrace(PTRACE_SYSCALL, found->first, nullptr, task.signal);
    held_.erase(next);
    return;
  }
}

void Oracle::PassTurnsOfSleepers() {
  for (auto& [tid, task] : tasks_) {
    if (!task.active) {
      continue;
    }
    const char state = StateOf(tid);
    if (state != 'R' && state != 't') {
      task.active = false;
      PassTurn(task.memory);
    }
  }
}

// One that has been woken is on its way to its stop, and may be writing its results.
void Oracle::AwaitOthersInCalls(const Task& who) {
  for (const auto& [tid, task] : tasks_) {
    while (&task != &who && task.memory == who.memory && task.in_call && StateOf(tid) == 'R') {
      sched_yield();
    }
  }
}

// ---- stops ----

// Another program, with memory of its own; the thread that asked for it is the leader now.
void Oracle::OnExec(int tid) {
  unsigned long former = 0;
  ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &former);
  OnEnd(static_cast<int>(former));
  OnEnd(tid);
  Task& task = TaskOf(tid);
  task.active = true;
  task.in_call = true;  // its exit stop is still to come
  task.skip = true;
  task.number = SYS_execve;
}

void Oracle::OnEnd(int tid) {
  const auto found = tasks_.find(tid);
  if (found == tasks_.end()) {
    return;
  }
  const int memory = found->second.memory;
  tasks_.erase(found);
  std::erase(held_, tid);
  PassTurn(memory);
}

void Oracle::OnStop(int tid, int status) {
  const int signal = WSTOPSIG(status);
  const int event = status >> 16;
  if (event == PTRACE_EVENT_EXEC) {
    OnExec(tid);
    ptrace(PTRACE_SYSCALL, tid, nullptr, 0);
    return;
  }
  Task& task = TaskOf(tid);
  if (signal == (SIGTRAP | 0x80) && task.in_call) {
    OnCallExit(tid, task);
    RunAlone(tid, task, 0);
  } else if (signal == (SIGTRAP | 0x80)) {
    OnCallEntry(tid, task);
    ptrace(PTRACE_SYSCALL, tid, nullptr, 0);
  } else if (event == PTRACE_EVENT_STOP &&
             (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)) {
    task.active = false;
    ptrace(PTRACE_LISTEN, tid, nullptr, nullptr);
    PassTurn(task.memory);
  } else if (event == 0 || event == PTRACE_EVENT_STOP) {
    RunAlone(tid, task, event == 0 ? signal : 0);
  } else {
    ptrace(PTRACE_SYSCALL, tid, nullptr, 0);  // inside fork and the like
  }
}

int Oracle::Run(int init) {
  int exit_status = -1;
  for (;;) {
    int status = 0;
    const int tid = waitpid(-1, &status, held_.empty() ? __WALL : __WALL | WNOHANG);
    if (tid < 0) {
      break;
    }
    if (tid == 0) {
      PassTurnsOfSleepers();
      sched_yield();
      continue;
    }
    if (WIFSTOPPED(status)) {
      OnStop(tid, status);
      continue;
    }
    OnEnd(tid);
    if (tid == init) {
      exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
  log_.End();
  return exit_status;
}

// ---- start ----

// Process 1 of a namespace ignores signals that it has no handler for, so the program is its child.
[[noreturn]] void BeInit(int go, char** program) {
  char byte = 0;
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0 ||
      read(go, &byte, 1) != 1) {
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

// As a container is recorded; stops also are ten times as fast as between CPUs.
void StayOnThisCpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(sched_getcpu(), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

// Also as a container is recorded: the recording program counts on not being interrupted by another
// task that it records. Fails outside the root CPU cgroup of a kernel with RT_GROUP_SCHED.
bool NeverPreempt(int init) {
  sched_param lowest{};
  lowest.sched_priority = 1;
  return sched_setscheduler(init, SCHED_FIFO, &lowest) == 0 &&
         sched_setscheduler(0, SCHED_FIFO, &lowest) == 0;
}

int StartInit(int go, char** program) {
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
  arguments.exit_signal = SIGCHLD;
  const auto init = static_cast<int>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (init == 0) {
    BeInit(go, program);
  }
  return init;
}

Result<std::unique_ptr<Capture>> LoadCapture(int init) {
  const auto rows = CaptureRows();
  CaptureOptions options;
  options.init_pid = init;
  options.rows = rows;
  options.log_own_copies = true;
  for (const CommandSize& command : CommandSizes()) {
    options.commands.push_back({command.key, command.size});
  }
  auto capture = TRY(Capture::Load(options));
  TRY(capture->Attach());
  return capture;
}

int Report(const char* program, const Oracle& oracle, uint64_t events, int exit_status) {
  const Totals& totals = oracle.totals();
  const OracleLog& log = oracle.log();
  if (!log.problem().empty()) {
    printf("oracle: the recording ended: %s\n", log.problem().c_str());
  }
  printf("{\"program\":\"%s\",\"calls\":%" PRIu64 ",\"compared\":%" PRIu64 ",\"skipped\":%" PRIu64
         ",\"unexplained\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"missing\":%" PRIu64
         ",\"unmatched\":%" PRIu64 ",\"events\":%" PRIu64 ",\"gaps\":%" PRIu64
         ",\"problem\":%s,\"exit\":%d}\n",
         program, totals.calls, totals.compared, totals.skipped, totals.unexplained, totals.wrong,
         totals.missing, log.unmatched(), events, log.gaps(),
         log.problem().empty() ? "false" : "true", exit_status);
  const uint64_t failures =
      totals.unexplained + totals.wrong + totals.missing + log.unmatched() + log.gaps();
  return failures == 0 && log.problem().empty() && (exit_status == 0 || exit_status == 77) ? 0 : 1;
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
  StayOnThisCpu();
  std::array<int, 2> go{};
  if (pipe2(go.data(), O_CLOEXEC) != 0) {
    return Fail("pipe");
  }
  const int init = StartInit(go[0], argv + first);
  if (init < 0) {
    return Fail("clone: " + std::string(strerror(errno)));
  }
  auto capture = LoadCapture(init);
  if (!capture) {
    kill(init, SIGKILL);
    return Fail(capture.error().message);
  }
  if (!NeverPreempt(init)) {
    kill(init, SIGKILL);
    return Fail("SCHED_FIFO: " + std::string(strerror(errno)));
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
  return Report(argv[first], oracle, (*capture)->stats().events, exit_status);
}

}  // namespace
}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main(argc, argv); }
