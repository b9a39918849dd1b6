#include "recorder/capture.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>

#include "base/owned_fd.h"
#include "capture.skel.h"

namespace migrate {
namespace {

// libbpf explains a failure on its log only: keep the last lines for the error.
thread_local std::string g_log;

int KeepLog(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) {
    return 0;
  }
  va_list again;
  va_copy(again, arguments);
  const int size = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  std::string text(static_cast<size_t>(std::max(size, 0)) + 1, '\0');
  vsnprintf(text.data(), text.size(), format, arguments);
  text.pop_back();
  g_log += text;
  constexpr size_t kKept = 4000;
  if (g_log.size() > kKept) {
    g_log.erase(0, g_log.size() - kKept);
  }
  return 0;
}

// The verifier's verdict stands in the last lines of its log, in front of its statistics.
std::string LastLines(const std::string& log) {
  const size_t end = std::min(log.find("\nprocessed "), log.size());
  constexpr size_t kShown = 600;
  std::string lines = log.substr(end > kShown ? end - kShown : 0, std::min(end, kShown));
  std::replace(lines.begin(), lines.end(), '\n', '|');
  return lines;
}

Error LoadError(int error_number) {
  return MakeError(ErrorCode::kFailedPrecondition,
                   "the kernel does not take the recording program: " +
                       std::string(strerror(error_number)) +
                       " (it needs BTF, BPF ring buffers, task storage and trampolines: Linux 5.18 "
                       "or newer): " +
                       LastLines(g_log),
                   "KERNEL_CANNOT_RECORD");
}

Result<uint32_t> PidNamespace(int pid) {
  struct stat status {};
  if (stat(("/proc/" + std::to_string(pid) + "/ns/pid").c_str(), &status) != 0) {
    return ErrnoError("the pid namespace of process " + std::to_string(pid));
  }
  return static_cast<uint32_t>(status.st_ino);
}

// One file of each kind that only its operations tell apart.
std::array<OwnedFd, KNOWN_FILE_COUNT> MakeExamples() {
  std::array<OwnedFd, KNOWN_FILE_COUNT> files;
  sigset_t none;
  sigemptyset(&none);
  files[KNOWN_EVENTFD] = OwnedFd(eventfd(0, EFD_CLOEXEC));
  files[KNOWN_TIMERFD] = OwnedFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  files[KNOWN_SIGNALFD] = OwnedFd(signalfd(-1, &none, SFD_CLOEXEC));
  files[KNOWN_EPOLL] = OwnedFd(epoll_create1(EPOLL_CLOEXEC));
  files[KNOWN_INOTIFY] = OwnedFd(inotify_init1(IN_CLOEXEC));
  files[KNOWN_PIDFD] = OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  files[KNOWN_SOCKET] = OwnedFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
  files[KNOWN_UNIX_STREAM] = OwnedFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  files[KNOWN_UNIX_DGRAM] = OwnedFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  files[KNOWN_UNIX_SEQPACKET] = OwnedFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  return files;
}

// Runs a BPF iterator to its end; what it printed.
Result<std::string> RunIterator(bpf_link* link) {
  const OwnedFd iterator(bpf_iter_create(bpf_link__fd(link)));
  if (!iterator) {
    return ErrnoError("BPF iterator");
  }
  std::string output;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t got = read(iterator.get(), buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
      continue;
    }
    if (got < 0) {
      return ErrnoError("BPF iterator");
    }
    if (got == 0) {
      return output;
    }
    output.append(buffer.data(), static_cast<size_t>(got));
  }
}

// Whether clocks can be drained before an exec and before an exit without a look at every system
// call: there is a hook for the first, and the one of the second (three arguments with its context,
// since Linux 6.16) comes while the memory is still there.
bool HasLateHooks() {
  const std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_vmlinux_btf(), &btf__free);
  if (!types || btf__find_by_name_kind(types.get(), "btf_trace_sched_prepare_exec",
                                       BTF_KIND_TYPEDEF) < 0) {
    return false;
  }
  const int exit =
      btf__find_by_name_kind(types.get(), "btf_trace_sched_process_exit", BTF_KIND_TYPEDEF);
  const btf_type* pointer =
      exit < 0 ? nullptr : btf__type_by_id(types.get(), btf__type_by_id(types.get(), exit)->type);
  const btf_type* function =
      pointer == nullptr ? nullptr : btf__type_by_id(types.get(), pointer->type);
  return function != nullptr && btf_is_func_proto(function) && btf_vlen(function) == 3;
}

struct LinkCloser {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, LinkCloser>;

}  // namespace

struct Capture::State {
  capture_bpf* program = nullptr;
  ring_buffer* ring = nullptr;
  const Sink* sink = nullptr;
  Result<void> sink_result;
  size_t consumed = 0;
  bool late_hooks = false;

  ~State() {
    ring_buffer__free(ring);
    capture_bpf__destroy(program);
  }

  static int OnFrame(void* context, void* data, size_t size) {
    auto* self = static_cast<State*>(context);
    self->consumed++;
    self->sink_result = (*self->sink)({static_cast<const std::byte*>(data), size});
    return self->sink_result ? 0 : -ECANCELED;
  }

  Result<void> LearnFiles();
};

Result<void> Capture::State::LearnFiles() {
  const auto examples = MakeExamples();
  const Link link(bpf_program__attach_iter(program->progs.learn_files, nullptr));
  if (!link) {
    return ErrnoError("attach the BPF iterator of files");
  }
  const std::string lines = TRY(RunIterator(link.get()));
  for (size_t at = 0; at + sizeof(learned_file) <= lines.size(); at += sizeof(learned_file)) {
    learned_file line{};
    memcpy(&line, lines.data() + at, sizeof(line));
    for (size_t kind = 0; kind < examples.size(); kind++) {
      if (examples[kind].get() == static_cast<int>(line.fd)) {
        program->bss->known_files[kind] =
            kind < KNOWN_UNIX_STREAM ? line.operations : line.socket_operations;
      }
    }
  }
  for (const auto known : program->bss->known_files) {
    if (known == 0) {
      return MakeError(ErrorCode::kInternal, "a kind of file was not found by the BPF iterator");
    }
  }
  return {};
}

Capture::Capture(std::unique_ptr<State> state) : state_(std::move(state)) {}
Capture::~Capture() = default;

Result<std::unique_ptr<Capture>> Capture::Load(const CaptureOptions& options) {
  g_log.clear();
  libbpf_set_print(KeepLog);
  auto state = std::make_unique<State>();
  state->program = capture_bpf__open();
  if (state->program == nullptr) {
    return LoadError(errno);
  }
  auto& fixed = *state->program->rodata;
  fixed.pid_namespace_inum = TRY(PidNamespace(options.init_pid));
  fixed.self_tgid = static_cast<uint32_t>(getpid());
  fixed.log_own_copies = options.log_own_copies;
  fixed.log_input_bytes = options.log_input_bytes;
  static_assert(sizeof(fixed.rows[0]) == sizeof(capture_row));
  memcpy(static_cast<void*>(fixed.rows), options.rows.data(),
         std::min(options.rows.size_bytes(), sizeof(fixed.rows)));
  bpf_map__set_max_entries(state->program->maps.ring, static_cast<uint32_t>(options.ring_bytes));
  bpf_map__set_max_entries(state->program->maps.scratches,
                           static_cast<uint32_t>(std::max(1, libbpf_num_possible_cpus())));
  state->late_hooks = HasLateHooks();
  bpf_program__set_autoload(state->program->progs.on_prepare_exec, state->late_hooks);
  bpf_program__set_autoload(state->program->progs.on_sys_enter, !state->late_hooks);
  if (const int failed = capture_bpf__load(state->program); failed != 0) {
    return LoadError(-failed);
  }
  const int commands = bpf_map__fd(state->program->maps.commands);
  for (const auto& command : options.commands) {
    if (bpf_map_update_elem(commands, &command.key, &command.size, BPF_ANY) != 0) {
      return ErrnoError("the table of commands of the recording program");
    }
  }
  const int outside = bpf_map__fd(state->program->maps.outside);
  for (const auto& file : options.outside) {
    const uint32_t yes = 1;
    if (bpf_map_update_elem(outside, &file, &yes, BPF_ANY) != 0) {
      return ErrnoError("the table of outside files of the recording program");
    }
  }
  TRY(state->LearnFiles());
  state->ring =
      ring_buffer__new(bpf_map__fd(state->program->maps.ring), State::OnFrame, state.get(), nullptr);
  if (state->ring == nullptr) {
    return ErrnoError("the ring buffer of the recording program");
  }
  return std::unique_ptr<Capture>(new Capture(std::move(state)));
}

Result<void> Capture::Attach() {
  auto& program = *state_->program;
  struct Hook {
    bpf_program* program;
    bpf_link** link;
  };
  // Births first: a task that is born while the others are being marked would be missed.
  for (const Hook hook : {Hook{program.progs.on_new_task, &program.links.on_new_task},
                          Hook{program.progs.on_exec, &program.links.on_exec},
                          Hook{program.progs.on_exit, &program.links.on_exit},
                          Hook{program.progs.on_signal, &program.links.on_signal},
                          Hook{program.progs.on_switch, &program.links.on_switch},
                          state_->late_hooks
                              ? Hook{program.progs.on_prepare_exec, &program.links.on_prepare_exec}
                              : Hook{program.progs.on_sys_enter, &program.links.on_sys_enter},
                          Hook{program.progs.on_sys_exit, &program.links.on_sys_exit}}) {
    *hook.link = bpf_program__attach(hook.program);
    if (*hook.link == nullptr) {
      return ErrnoError(std::string("attach the recording program ") +
                        bpf_program__name(hook.program));
    }
  }
  const Link link(bpf_program__attach_iter(program.progs.mark_tasks, nullptr));
  if (!link) {
    return ErrnoError("attach the BPF iterator of tasks");
  }
  TRY(RunIterator(link.get()));
  if (program.bss->marked_tasks == 0) {
    return MakeError(ErrorCode::kNotFound, "no task of the container was found to record");
  }
  return {};
}

void Capture::Arm() { __atomic_store_n(&state_->program->bss->state, CAPTURE_ARMED, __ATOMIC_SEQ_CST); }

void Capture::Disarm() {
  uint32_t armed = CAPTURE_ARMED;
  __atomic_compare_exchange_n(&state_->program->bss->state, &armed, uint32_t{CAPTURE_IDLE}, false,
                              __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

Result<size_t> Capture::Consume(const Sink& sink) {
  state_->sink = &sink;
  state_->sink_result = {};
  state_->consumed = 0;
  const int got = ring_buffer__consume(state_->ring);
  state_->sink = nullptr;
  if (!state_->sink_result) {
    return state_->sink_result.error();
  }
  if (got < 0) {
    return ErrnoError("the ring buffer of the recording", -got);
  }
  return state_->consumed;
}

Result<void> Capture::Append(const append_request& request) {
  append_request argument = request;
  LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &argument, .ctx_size_in = sizeof(argument));
  if (bpf_prog_test_run_opts(bpf_program__fd(state_->program->progs.append), &run) != 0) {
    return ErrnoError("append an event to the recording");
  }
  return {};
}

Result<void> Capture::SetClockSource(int tgid, const clock_source& source) {
  const auto key = static_cast<uint32_t>(tgid);
  if (bpf_map_update_elem(bpf_map__fd(state_->program->maps.clocks), &key, &source, BPF_ANY) != 0) {
    return ErrnoError("the table of clocks of the recording program");
  }
  return {};
}

void Capture::Mute(int tid) {
  __atomic_store_n(&state_->program->bss->muted, tid, __ATOMIC_SEQ_CST);
}

void Capture::YieldAfterNextCall(int tid) {
  __atomic_store_n(&state_->program->bss->yields, tid, __ATOMIC_SEQ_CST);
}

CaptureStats Capture::stats() const {
  const auto& live = *state_->program->bss;
  CaptureStats stats;
  stats.events = __atomic_load_n(&live.events, __ATOMIC_RELAXED);
  stats.bytes = __atomic_load_n(&live.bytes, __ATOMIC_RELAXED);
  stats.lost = __atomic_load_n(&live.lost, __ATOMIC_RELAXED);
  stats.tasks = static_cast<uint32_t>(live.marked_tasks);
  stats.running_tid = __atomic_load_n(&live.running_tid, __ATOMIC_RELAXED);
  stats.clock_readings = __atomic_load_n(&live.clock_readings, __ATOMIC_RELAXED);
  stats.ended = __atomic_load_n(&live.state, __ATOMIC_RELAXED) == CAPTURE_ENDED;
  return stats;
}

}  // namespace migrate
