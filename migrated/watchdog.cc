#include "migrated/watchdog.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <filesystem>

#include "base/file_util.h"

extern char** environ;

namespace migrate {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kStartTimeout = 5s;
constexpr auto kGoTimeout = 2s;        // it only has to read a packet
constexpr auto kTakeOverTimeout = 5s;  // it looks every few milliseconds
constexpr auto kPoll = 5ms;
constexpr int kMaxReplaced = 3;

struct SpawnSettings {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

// A session of its own, no signal blocked, the channel as its standard input; every other
// descriptor of ours closes itself.
Result<int> SpawnProgram(const std::string& program, const std::string& state_dir,
                         const std::string& migration_id, FdRef channel) {
  SpawnSettings settings;
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  posix_spawn_file_actions_adddup2(&settings.actions, channel.get(), STDIN_FILENO);
  std::string name = "migrate-watchdog";
  std::string directory = state_dir;
  std::string id = migration_id;
  const std::array<char*, 4> argv{name.data(), directory.data(), id.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &settings.actions, &settings.attributes,
                                argv.data(), environ);
  if (error != 0) {
    return ErrnoError(program, error);
  }
  return pid;
}

bool HasEnded(FdRef pidfd) {
  pollfd poll_it{pidfd.get(), POLLIN, 0};
  return poll(&poll_it, 1, 0) > 0;
}

void Reap(int pid) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Error CannotStart(const std::string& why) {
  return MakeError(ErrorCode::kFailedPrecondition,
                   "the watchdog, which lets the container go on if this daemon dies, cannot be "
                   "started: " +
                       why,
                   "NO_WATCHDOG");
}

// The file is locked, so the process that wrote its number into it is alive.
void KillHolder(FdRef locked) {
  std::array<char, 16> text{};
  int pid = 0;
  const auto size = pread(locked.get(), text.data(), text.size(), 0);
  if (size > 0 && std::from_chars(text.data(), text.data() + size, pid).ec == std::errc() &&
      pid > 1) {
    kill(pid, SIGKILL);
  }
}

bool LockWithin(FdRef file, std::chrono::milliseconds timeout) {
  const auto until = Clock::now() + timeout;
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (Clock::now() >= until) {
      return false;
    }
    std::this_thread::sleep_for(kPoll);
  }
  return true;
}

Result<> TakeOver(const std::string& path) {
  const OwnedFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return errno == ENOENT ? Result<>() : ErrnoError("open " + path);
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoError("remove " + path);
  }
  if (!LockWithin(file, kTakeOverTimeout)) {
    KillHolder(file);
    if (!LockWithin(file, kTakeOverTimeout)) {
      return MakeError(ErrorCode::kInternal, "the watchdog that holds " + path + " does not end");
    }
  }
  return {};
}

}  // namespace

std::string Watchdog::DefaultProgram() {
  std::error_code error;
  std::string self = std::filesystem::read_symlink("/proc/self/exe", error);
  return std::filesystem::path(self).parent_path() / "migrate-watchdog";
}

Result<Watchdog::Process> Watchdog::Spawn(const Options& options) {
  std::array<int, 2> fds{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return ErrnoError("socketpair");
  }
  Process process;
  process.channel = OwnedFd(fds[0]);
  OwnedFd theirs(fds[1]);
  process.pid = TRY(SpawnProgram(options.program, options.state_dir, options.migration_id, theirs));
  theirs.reset();
  process.pidfd = OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  std::array<char, 1024> answer{};
  pollfd readable{process.channel.get(), POLLIN, 0};
  ssize_t size = 0;
  const int timeout = std::chrono::milliseconds(kStartTimeout).count();
  if (process.pidfd && TEMP_FAILURE_RETRY(poll(&readable, 1, timeout)) > 0) {
    size = recv(process.channel.get(), answer.data(), answer.size(), MSG_DONTWAIT);
  }
  const std::string text(answer.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  if (text != kWatchdogReady) {
    kill(process.pid, SIGKILL);
    Reap(process.pid);
    return MakeError(ErrorCode::kInternal, text.empty() ? "it does not answer" : text);
  }
  return process;
}

Result<std::unique_ptr<Watchdog>> Watchdog::Start(Options options) {
  auto process = Spawn(options);
  if (!process) {
    return CannotStart(process.error().message);
  }
  std::unique_ptr<Watchdog> watchdog(new Watchdog(std::move(options)));
  watchdog->process_ = std::move(*process);
  watchdog->stop_event_ = OwnedFd(eventfd(0, EFD_CLOEXEC));
  if (!watchdog->stop_event_) {
    return ErrnoError("eventfd");
  }
  watchdog->thread_ =
      std::jthread([own = watchdog.get()](const std::stop_token& stop) { own->Watch(stop); });
  return watchdog;
}

Watchdog::~Watchdog() {
  if (thread_.joinable()) {
    thread_.request_stop();
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(stop_event_.get(), &one, sizeof one);
    thread_.join();
  }
  if (process_.pid < 0) {
    return;
  }
  static_cast<void>(
      send(process_.channel.get(), kWatchdogGo, sizeof kWatchdogGo - 1, MSG_NOSIGNAL));
  pollfd ended{process_.pidfd.get(), POLLIN, 0};
  const int timeout = std::chrono::milliseconds(kGoTimeout).count();
  if (TEMP_FAILURE_RETRY(poll(&ended, 1, timeout)) <= 0) {
    spdlog::error("migration {}: the watchdog does not go: killed", options_.migration_id);
    kill(process_.pid, SIGKILL);
  }
  Reap(process_.pid);
}

void Watchdog::Watch(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::array<pollfd, 2> polls{pollfd{stop_event_.get(), POLLIN, 0},
                                pollfd{process_.pidfd.get(), POLLIN, 0}};
    if (poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) {
      return;
    }
    if (polls[1].revents != 0 && !stop.stop_requested()) {
      Replace();
      if (!process_.pidfd) {
        return;
      }
    }
  }
}

void Watchdog::Replace() {
  const std::lock_guard lock(mutex_);
  Reap(process_.pid);
  process_ = Process();
  spdlog::error("migration {}: the watchdog has died", options_.migration_id);
  if (++replaced_ > kMaxReplaced) {
    lost_ = MakeError(ErrorCode::kInternal, "the watchdog dies again and again", "NO_WATCHDOG");
    return;
  }
  if (auto process = Spawn(options_)) {
    process_ = std::move(*process);
    spdlog::info("migration {}: there is another watchdog", options_.migration_id);
  } else {
    lost_ = CannotStart(process.error().message);
  }
}

Result<> Watchdog::CheckAlive() {
  const auto until = Clock::now() + kStartTimeout;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      TRY(lost_);
      if (!HasEnded(process_.pidfd)) {
        return {};
      }
    }
    if (Clock::now() >= until) {
      return CannotStart("it has died");
    }
    std::this_thread::sleep_for(kPoll);
  }
}

Result<> TakeOverFromWatchdogs(const std::string& state_dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(state_dir, error)) {
    if (entry.path().filename().native().starts_with(kWatchdogLockPrefix)) {
      TRY(TakeOver(entry.path()));
    }
  }
  return {};
}

}  // namespace migrate
