// `migrate CTR HOST` and `migrate preflight`: start, follow, sum up.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <atomic>
#include <thread>

#include "base/owned_fd.h"
#include "cli/commands.h"
#include "cli/units.h"

namespace migrate {

sigset_t BlockInterrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

namespace {

constexpr int kPollMilliseconds = 50;
constexpr auto kDaemonPatience = std::chrono::seconds(20);
constexpr auto kDaemonRetryDelay = std::chrono::milliseconds(300);

// Turns SIGINT and SIGTERM into an abort, then into the end of the watch, while it lives.
class InterruptWatcher {
 public:
  InterruptWatcher(const Client& client, std::string id, bool abort, grpc::ClientContext& watch)
      : client_(client), id_(std::move(id)), abort_(abort), watch_(watch) {
    const sigset_t signals = BlockInterrupts();
    fd_ = OwnedFd(signalfd(-1, &signals, SFD_CLOEXEC));
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }

  bool detached() const { return detached_; }

 private:
  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd poll_fd{fd_.get(), POLLIN, 0};
      if (poll(&poll_fd, 1, kPollMilliseconds) > 0) {
        signalfd_siginfo info{};
        if (read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
          Interrupted();
        }
      }
    }
  }

  void Interrupted() {
    if (abort_ && !aborted_) {
      aborted_ = true;
      std::fprintf(stderr, "\naborting; Ctrl-C again detaches\n");
      std::jthread([this] {
        v1::AbortMigrationRequest request;
        request.set_id(id_);
        v1::Migration migration;
        const grpc::Status status =
            Call(client_, &v1::Control::Stub::AbortMigration, request, &migration);
        if (!status.ok()) {
          std::fprintf(stderr, "migrate: %s\n", status.error_message().c_str());
        }
      }).detach();
      return;
    }
    detached_ = true;
    watch_.TryCancel();
  }

  const Client& client_;
  std::string id_;
  bool abort_;
  bool aborted_ = false;
  std::atomic<bool> detached_ = false;
  grpc::ClientContext& watch_;
  OwnedFd fd_;
  std::jthread thread_;
};

void PrintPreflight(const v1::PreflightResponse& response, const MoveCommand& command) {
  for (const v1::Blocker& blocker : response.blockers()) {
    std::printf("blocker  %s\n", BlockerText(blocker).c_str());
  }
  for (const std::string& note : response.notes()) {
    std::printf("note     %s\n", note.c_str());
  }
  if (response.blockers_size() == 0) {
    std::printf("%s can move%s%s: %s of memory, %s of files%s\n", command.container.c_str(),
                command.target.empty() ? "" : " to ", command.target.c_str(),
                FormatBytes(response.memory_bytes()).c_str(),
                FormatBytes(response.file_bytes()).c_str(),
                command.target.empty()       ? ""
                : response.image_at_target() ? ", image is there"
                                             : ", image goes along");
  }
}

}  // namespace

ExitCode WatchToEnd(const Client& client, const v1::Migration& started, Watcher watcher,
                    const OutputOptions& output) {
  ProgressPrinter printer(output.progress, stderr);
  v1::WatchMigrationRequest request;
  request.set_id(started.id());
  request.set_past_doubt(watcher == Watcher::kSpectator);
  v1::Migration migration = started;
  bool detached = false;
  grpc::Status status;
  auto patience = std::chrono::steady_clock::now() + kDaemonPatience;
  for (;;) {
    grpc::ClientContext context;
    {
      const InterruptWatcher interrupts(client, started.id(), watcher == Watcher::kStarter,
                                        context);
      auto reader = client.stub->WatchMigration(&context, request);
      while (reader->Read(&migration)) {
        printer.Update(migration);
        patience = std::chrono::steady_clock::now() + kDaemonPatience;
      }
      status = reader->Finish();
      detached = interrupts.detached();
    }
    // A daemon that died in the middle of it is started again, as a rule, and then knows the end.
    if (detached || status.error_code() != grpc::StatusCode::UNAVAILABLE ||
        std::chrono::steady_clock::now() >= patience) {
      break;
    }
    std::this_thread::sleep_for(kDaemonRetryDelay);
  }
  printer.Finish();
  if (detached) {
    std::fprintf(stderr, "detached; it goes on: migrate status --watch %s\n", started.id().c_str());
    return ExitCode::kMoved;
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    // No promise where the container runs: it may be past its commit point.
    std::fprintf(stderr,
                 "migrate: the daemon ended during the migration and has not come back. Before the "
                 "commit point the container runs here; start the daemon and see `migrate status "
                 "%s`\n",
                 started.id().c_str());
    return ExitCode::kInternal;
  }
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(migration, true).c_str());
  } else {
    const bool good = migration.outcome() == v1::OUTCOME_MOVED;
    std::fprintf(good ? stdout : stderr, "%s%s",
                 good ? "" : "migrate: ", Summary(migration).c_str());
  }
  return ExitCodeOf(migration);
}

ExitCode RunMove(const Client& client, const MoveCommand& command, const OutputOptions& output) {
  if (command.dry_run) {
    return RunPreflight(client, command, output);
  }
  v1::StartMigrationRequest request;
  request.set_request_id(command.request_id);
  request.set_container(command.container);
  request.set_target(command.target);
  *request.mutable_options() = command.options;
  v1::Migration migration;
  const grpc::Status status = Call(client, &v1::Control::Stub::StartMigration, request, &migration);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (command.detach) {
    std::printf("%s\n", output.json ? ToJson(migration, true).c_str() : migration.id().c_str());
    return ExitCode::kMoved;
  }
  if (output.progress != ProgressStyle::kNone && output.progress != ProgressStyle::kJson) {
    std::fprintf(stderr, "migration %s: Ctrl-C aborts it, a second Ctrl-C detaches\n",
                 migration.id().c_str());
  }
  return WatchToEnd(client, migration, Watcher::kStarter, output);
}

ExitCode RunPreflight(const Client& client, const MoveCommand& command,
                      const OutputOptions& output) {
  v1::PreflightRequest request;
  request.set_container(command.container);
  request.set_target(command.target);
  *request.mutable_options() = command.options;
  v1::PreflightResponse response;
  const grpc::Status status = Call(client, &v1::Control::Stub::Preflight, request, &response);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(response).c_str());
  } else {
    PrintPreflight(response, command);
  }
  return response.blockers_size() == 0 ? ExitCode::kMoved : ExitCode::kRefused;
}

}  // namespace migrate
