// The watchdog of one migration, as the source's daemon sees it: a small process of its own
// (migrate-watchdog, watchdog_main.cc) that is there before the container is frozen and does not
// die with the daemon. When the daemon dies it reads the journal, and if the migration is not past
// its commit point it lets the container go on (kernel_undo.h).
//
// It holds a lock on a file in the state directory while it lives. A daemon that is started again
// takes that file away first (TakeOverFromWatchdogs), so that no old watchdog ever thaws what a new
// migration has frozen.
//
// A Watchdog owns the process and a thread that replaces it if it dies. Thread-safe.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

class Watchdog {
 public:
  struct Options {
    std::string program;  // DefaultProgram()
    std::string state_dir;
    std::string migration_id;
  };
  // Beside the program that runs now.
  static std::string DefaultProgram();

  // Returns when it watches.
  static Result<std::unique_ptr<Watchdog>> Start(Options options);
  // Sends it away: the container is not frozen any more, or past the commit point.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // To be asked before the point of no return. One that has died meanwhile is replaced; an error
  // means that this did not work.
  Result<> CheckAlive();

 private:
  struct Process {
    int pid = -1;
    OwnedFd pidfd;
    OwnedFd channel;  // its end of file is how the process learns of our death
  };
  explicit Watchdog(Options options) : options_(std::move(options)) {}
  static Result<Process> Spawn(const Options& options);
  void Replace();
  void Watch(const std::stop_token& stop);

  const Options options_;
  std::mutex mutex_;
  Process process_;     // guarded by mutex_
  Result<> lost_;       // guarded by mutex_; an error: it died and could not be replaced
  int replaced_ = 0;    // of the thread
  OwnedFd stop_event_;  // wakes the thread
  std::jthread thread_;
};

// For a daemon that starts, before it touches what its migrations have changed: the watchdogs of
// the dead daemon stop whatever they wait for, and are gone when this returns. They end by
// themselves, or are killed after a few seconds.
Result<> TakeOverFromWatchdogs(const std::string& state_dir);

inline constexpr char kWatchdogLockPrefix[] = "watchdog-";

// Both sides: the file that a watchdog holds locked.
inline std::string WatchdogLockPath(const std::string& state_dir, const std::string& migration_id) {
  return state_dir + "/" + kWatchdogLockPrefix + migration_id;
}

// What goes over the channel: one packet each way.
inline constexpr char kWatchdogReady[] = "ready";  // anything else is the text of an error
inline constexpr char kWatchdogGo[] = "go";

}  // namespace migrate
