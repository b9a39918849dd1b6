// `migrate-watchdog STATE_DIR MIGRATION`: waits beside a daemon for as long as a container that it
// has frozen depends on it (watchdog.h). Standard input is a socket to the daemon: "go" ends the
// watch, end of file means that the daemon is dead.
//
// Then the journal decides, which nobody holds any more. The daemon writes the commit in one
// transaction: dead in the middle of that write, it has either committed or not, and everybody who
// reads the journal from then on, this program first, sees the same. Past the commit point nothing
// is done here: the target runs the container. Before it, the container goes on at once, as soon
// as CRIU, if the daemon had one started, has let go of it.
//
// Small and single-threaded on purpose; writes to the journal never.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "base/owned_fd.h"
#include "migrated/journal.h"
#include "migrated/kernel_undo.h"
#include "migrated/watchdog.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kPoll = 10ms;
constexpr auto kJournalTimeout = 10min;  // of a journal that cannot be read, or that a daemon has
constexpr int kUndoAttempts = 5;
constexpr auto kUndoRetryDelay = 200ms;

class Duty {
 public:
  Duty(std::string state_dir, std::string id)
      : state_dir_(std::move(state_dir)),
        id_(std::move(id)),
        lock_path_(WatchdogLockPath(state_dir_, id_)) {}

  Result<> Lock() {
    lock_ = OwnedFd(open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock_) {
      return ErrnoError(lock_path_);
    }
    if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
      return ErrnoError(lock_path_ + " (there is a watchdog already)");
    }
    const std::string pid = std::to_string(getpid());
    if (ftruncate(lock_.get(), 0) != 0 ||
        write(lock_.get(), pid.data(), pid.size()) != static_cast<ssize_t>(pid.size())) {
      return ErrnoError(lock_path_);
    }
    return {};
  }

  void Unlock() {
    if (!TakenOver()) {
      unlink(lock_path_.c_str());
    }
  }

  int DaemonDied() {
    const auto record = Decision();
    if (!record) {
      Say(record.error().message);
      return record.error().code == ErrorCode::kCancelled ? 0 : 1;
    }
    if (record->decision() == v1::DECISION_COMMITTED ||
        record->decision() == v1::DECISION_ACTIVATED ||
        record->resolution() == v1::RESOLUTION_END_HERE) {
      Say("the daemon has died past the commit point: nothing to do here");
      return 0;
    }
    return LetGoOn(*record);
  }

 private:
  // A daemon that has been started again goes on with this migration itself.
  bool TakenOver() const {
    struct stat status {};
    return fstat(lock_.get(), &status) == 0 && status.st_nlink == 0;
  }

  Error TakenOverError() const {
    return MakeError(ErrorCode::kCancelled, "a new daemon takes over");
  }

  // What is unknown is not acted on: a container that stays frozen is better than two copies.
  Result<v1::MigrationRecord> Decision() {
    const auto until = Clock::now() + kJournalTimeout;
    for (;;) {
      if (TakenOver()) {
        return TakenOverError();
      }
      const auto record = Journal::ReadUnowned(state_dir_ + "/journal.db", id_);
      if (record) {
        return *record;
      }
      if (Clock::now() >= until || record.error().code == ErrorCode::kNotFound) {
        return record.error();
      }
      std::this_thread::sleep_for(kPoll);
    }
  }

  int LetGoOn(const v1::MigrationRecord& record) {
    for (const v1::UndoItem& item : record.undo()) {
      if (item.kind() != v1::UndoItem::FROZEN_CGROUP) {
        continue;
      }
      const Result<> waited = WaitForCriuToEnd(item.name(), [this] { return TakenOver(); });
      if (!waited) {
        Say(waited.error().message);
      }
    }
    if (TakenOver()) {
      Say(TakenOverError().message);
      return 0;
    }
    // From here on a new daemon waits for this process.
    int failed = 0;
    for (int i = record.undo_size() - 1; i >= 0; --i) {
      failed += Undo(record.undo(i)) ? 0 : 1;
    }
    Say(failed == 0 ? "the daemon has died before the commit point: the container goes on"
                    : "not all that the daemon had changed could be put back");
    return failed == 0 ? 0 : 1;
  }

  bool Undo(const v1::UndoItem& item) {
    for (int attempt = 1;; ++attempt) {
      const auto undone = UndoInKernel(item);
      if (undone) {
        return true;
      }
      Say(undone.error().message);
      if (attempt == kUndoAttempts) {
        return false;
      }
      std::this_thread::sleep_for(kUndoRetryDelay);
    }
  }

  void Say(const std::string& text) {
    std::fprintf(stderr, "migrate-watchdog: migration %s: %s\n", id_.c_str(), text.c_str());
  }

  const std::string state_dir_;
  const std::string id_;
  const std::string lock_path_;
  OwnedFd lock_;
};

void Answer(const std::string& text) {
  static_cast<void>(send(STDIN_FILENO, text.data(), text.size(), MSG_NOSIGNAL));
}

// True: the daemon has died.
bool WaitForDaemon() {
  std::array<char, 16> packet{};
  for (;;) {
    const auto size = recv(STDIN_FILENO, packet.data(), packet.size(), 0);
    if (size > 0 && std::string(packet.data(), static_cast<std::size_t>(size)) == kWatchdogGo) {
      return false;
    }
    if (size == 0 || (size < 0 && errno != EINTR)) {
      return true;
    }
  }
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: migrate-watchdog STATE_DIR MIGRATION (started by migrated)\n");
    return 2;
  }
  // Who ends the daemon's whole group or unit does not end this; SIGKILL does.
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT}) {
    signal(signal_number, SIG_IGN);
  }
  setsid();
  if (chdir("/") != 0) {
    return 1;
  }
  Duty duty(argv[1], argv[2]);
  if (const Result<> locked = duty.Lock(); !locked) {
    Answer(locked.error().message);
    return 1;
  }
  Answer(kWatchdogReady);
  const int code = WaitForDaemon() ? duty.DaemonDied() : 0;
  duty.Unlock();
  return code;
}

}  // namespace
}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main(argc, argv); }
