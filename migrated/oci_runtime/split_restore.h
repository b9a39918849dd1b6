// What the four processes of a restore in two halves say to each other: `create`, the monitor, the
// hook and `start` (see restore.h). They meet in <state dir>/pending/<container id>/:
//   lock   held (flock) by the monitor for as long as the restore runs
//   ready  FIFO, hook -> create: the pid of the container's init
//   go     FIFO, start -> hook: 'g' to go on, 'a' to give up
// PendingRestore is a handle, it owns open files only; Remove() removes the directory.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

class PendingRestore {
 public:
  // For `create`: makes the directory and takes the lock, which a forked child shares.
  static Result<PendingRestore> Make(const std::filesystem::path& state_dir, std::string_view id);
  // For the others. kNotFound if no restore of this container is pending.
  static Result<PendingRestore> Find(const std::filesystem::path& state_dir, std::string_view id);
  static PendingRestore At(std::filesystem::path directory);

  const std::filesystem::path& directory() const { return directory_; }

  // For `create`: the pid from the hook. `monitor_end` becomes readable when the monitor ends; then
  // kAborted.
  Result<int> WaitReady(FdRef monitor_end);
  // For the hook: tells the pid and waits for `start`. kAborted if told to give up.
  Result<> TellReadyAndWait(int pid);
  // For `start` and `delete`. kNotFound if no hook is waiting.
  Result<> Tell(bool go_on);
  // Until the monitor has ended.
  Result<> WaitEnd();
  void Remove();

 private:
  explicit PendingRestore(std::filesystem::path directory) : directory_(std::move(directory)) {}
  std::filesystem::path directory_;
  OwnedFd lock_;
  OwnedFd ready_;
};

}  // namespace migrate
