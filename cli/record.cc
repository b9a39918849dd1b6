// `migrate record`: start, follow, sum up. Ctrl-C ends the recording, not the program: what has been
// recorded is kept.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/owned_fd.h"
#include "cli/commands.h"
#include "cli/units.h"

namespace migrate {
namespace {

constexpr int kPollMilliseconds = 50;
constexpr auto kPlainInterval = std::chrono::seconds(1);

// Turns the first SIGINT or SIGTERM into the end of the recording, the second into that of the call.
class Interrupts {
 public:
  Interrupts(const Client& client, grpc::ClientContext& call) : client_(client), call_(call) {
    const sigset_t signals = BlockInterrupts();
    fd_ = OwnedFd(signalfd(-1, &signals, SFD_CLOEXEC));
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }

  void SetId(const std::string& id) {
    const std::lock_guard lock(mutex_);
    id_ = id;
  }

 private:
  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd poll_fd{fd_.get(), POLLIN, 0};
      signalfd_siginfo info{};
      if (poll(&poll_fd, 1, kPollMilliseconds) > 0 &&
          read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        Interrupted();
      }
    }
  }

  void Interrupted() {
    const std::lock_guard lock(mutex_);
    v1::StopRecordingRequest request;
    request.set_id(id_);
    v1::StopRecordingResponse response;
    if (stopped_ || id_.empty() ||
        !Call(client_, &v1::Control::Stub::StopRecording, request, &response).ok()) {
      call_.TryCancel();
    }
    stopped_ = true;
  }

  const Client& client_;
  grpc::ClientContext& call_;
  std::mutex mutex_;
  std::string id_;  // guarded
  bool stopped_ = false;
  OwnedFd fd_;
  std::jthread thread_;
};

const char* StateName(v1::RecordingState state) {
  switch (state) {
    case v1::RECORDING_PREFLIGHT:
      return "preflight";
    case v1::RECORDING_CHECKPOINT:
      return "checkpoint";
    case v1::RECORDING_RUNNING:
      return "recording";
    case v1::RECORDING_STOPPING:
      return "stopping";
    case v1::RECORDING_DONE:
      return "done";
    default:
      return "failed";
  }
}

std::string ProgressText(const v1::Recording& state) {
  std::string text = StateName(state.state());
  if (state.state() == v1::RECORDING_RUNNING) {
    text += "  " + FormatMilliseconds(state.recorded_ms()) + "  " +
            std::to_string(state.events()) + " events  " +
            std::to_string(static_cast<std::uint64_t>(state.events_per_second())) + "/s  " +
            FormatBytes(state.bytes()) + " (" + FormatBytes(state.bytes_compressed()) +
            " compressed)";
  }
  return text;
}

class Printer {
 public:
  explicit Printer(ProgressStyle style) : style_(style) {}
  ~Printer() { Finish(); }

  void Update(const v1::Recording& state) {
    const auto now = std::chrono::steady_clock::now();
    if (style_ == ProgressStyle::kJson) {
      std::fprintf(stderr, "%s\n", ToJson(state, true).c_str());
    } else if (style_ == ProgressStyle::kBar) {
      std::fprintf(stderr, "\r\033[K%s", ProgressText(state).c_str());
      open_ = true;
    } else if (style_ == ProgressStyle::kPlain &&
               (state.state() != last_state_ || now - last_line_ >= kPlainInterval)) {
      std::fprintf(stderr, "%s\n", ProgressText(state).c_str());
      last_line_ = now;
    }
    last_state_ = state.state();
  }

  void Finish() {
    if (open_) {
      std::fprintf(stderr, "\r\033[K");
    }
    open_ = false;
  }

 private:
  const ProgressStyle style_;
  bool open_ = false;
  v1::RecordingState last_state_ = v1::RECORDING_STATE_UNSPECIFIED;
  std::chrono::steady_clock::time_point last_line_{};
};

std::string RecordingSummary(const v1::Recording& state) {
  const double events = static_cast<double>(std::max<std::uint64_t>(state.events(), 1));
  const double seconds = std::max(state.recorded_ms(), 1.0) / 1000;
  std::array<char, 512> line{};
  std::snprintf(line.data(), line.size(),
                "recorded %s of %s: %lu events (%.0f per second), %s (%.1f bytes per event), "
                "%s compressed (%.1f); frozen %s at T0, %s at the end\n",
                FormatMilliseconds(state.recorded_ms()).c_str(), state.container_name().c_str(),
                static_cast<unsigned long>(state.events()), events / seconds,
                FormatBytes(state.bytes()).c_str(), static_cast<double>(state.bytes()) / events,
                FormatBytes(state.bytes_compressed()).c_str(),
                static_cast<double>(state.bytes_compressed()) / events,
                FormatMilliseconds(static_cast<double>(state.t0_freeze_us()) / 1000).c_str(),
                FormatMilliseconds(static_cast<double>(state.final_freeze_us()) / 1000).c_str());
  return line.data();
}

}  // namespace

ExitCode RunRecord(const Client& client, const RecordCommand& command,
                   const OutputOptions& output) {
  grpc::ClientContext context;
  Interrupts interrupts(client, context);
  const auto stream = client.stub->Record(&context, command.request);
  v1::Recording state;
  {
    Printer printer(output.json ? ProgressStyle::kNone : output.progress);
    while (stream->Read(&state)) {
      interrupts.SetId(state.id());
      printer.Update(state);
    }
  }
  const grpc::Status status = stream->Finish();
  if (output.json) {
    std::printf("%s\n", ToJson(state).c_str());
  }
  for (const std::string& warning : state.warnings()) {
    std::fprintf(stderr, "migrate: %s\n", warning.c_str());
  }
  if (!status.ok()) {
    for (const v1::Blocker& blocker : state.blockers()) {
      std::fprintf(stderr, "%s\n", BlockerText(blocker).c_str());
    }
    const ExitCode code = ReportError(client, status);
    // Once it had begun, nothing was refused: it ended before its time, and what it has is kept.
    return code == ExitCode::kRefused && state.events() > 0 ? ExitCode::kRolledBack : code;
  }
  if (!output.json) {
    std::printf("%s%s\n", RecordingSummary(state).c_str(), state.directory().c_str());
  }
  return ExitCode::kMoved;
}

}  // namespace migrate
