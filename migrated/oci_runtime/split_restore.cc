#include "migrated/oci_runtime/split_restore.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <charconv>
#include <chrono>
#include <string>
#include <thread>

#include "base/file_util.h"
#include "base/limits.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

int MillisecondsUntil(Clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

Error TimedOut(std::string_view what) {
  return MakeError(ErrorCode::kDeadlineExceeded, "timed out: " + std::string(what));
}

}  // namespace

Result<PendingRestore> PendingRestore::Make(const fs::path& state_dir, std::string_view id) {
  PendingRestore pending(state_dir / "pending" / id);
  std::error_code error;
  fs::remove_all(pending.directory_, error);  // of a host that went down in the middle
  if (fs::create_directories(pending.directory_, error); error) {
    return ErrnoError("create " + pending.directory_.string(), error.value());
  }
  for (const char* name : {"ready", "go"}) {
    if (mkfifo((pending.directory_ / name).c_str(), 0600) != 0) {
      return ErrnoError("mkfifo " + (pending.directory_ / name).string());
    }
  }
  pending.lock_ = TRY(OpenFile(pending.directory_ / "lock", O_RDWR | O_CREAT));
  if (flock(pending.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return ErrnoError("lock " + pending.directory_.string());
  }
  // Open for reading before there is a writer, so that the hook's write cannot block.
  pending.ready_ = TRY(OpenFile(pending.directory_ / "ready", O_RDONLY | O_NONBLOCK));
  return pending;
}

Result<PendingRestore> PendingRestore::Find(const fs::path& state_dir, std::string_view id) {
  PendingRestore pending(state_dir / "pending" / id);
  pending.lock_ = TRY(OpenFile(pending.directory_ / "lock", O_RDWR));
  return pending;
}

PendingRestore PendingRestore::At(fs::path directory) {
  return PendingRestore(std::move(directory));
}

Result<int> PendingRestore::WaitReady(FdRef monitor_end) {
  const auto deadline = Clock::now() + limits::kRestoreTimeout;
  for (;;) {
    std::array<pollfd, 2> polls{pollfd{ready_.get(), POLLIN, 0},
                                pollfd{monitor_end.get(), POLLIN, 0}};
    const int count = poll(polls.data(), polls.size(), MillisecondsUntil(deadline));
    if (count == 0) {
      return TimedOut("the restore did not get to the container's network");
    }
    if (count < 0 && errno != EINTR) {
      return ErrnoError("poll");
    }
    if ((polls[0].revents & POLLIN) != 0) {
      std::array<char, 32> text{};
      const auto size = read(ready_.get(), text.data(), text.size());
      int pid = 0;
      if (size > 0 && std::from_chars(text.data(), text.data() + size, pid).ec == std::errc() &&
          pid > 0) {
        return pid;
      }
    }
    if ((polls[1].revents & (POLLIN | POLLHUP)) != 0) {
      return MakeError(ErrorCode::kAborted, "the restore ended early");
    }
  }
}

Result<> PendingRestore::TellReadyAndWait(int pid) {
  const OwnedFd go = TRY(OpenFile(directory_ / "go", O_RDONLY | O_NONBLOCK));
  {
    const OwnedFd ready = TRY(OpenFile(directory_ / "ready", O_WRONLY | O_NONBLOCK));
    const std::string text = std::to_string(pid) + "\n";
    TRY(WriteFully(ready, text.data(), text.size()));
  }
  const auto deadline = Clock::now() + limits::kRestoreTimeout;
  for (;;) {
    pollfd wait{go.get(), POLLIN, 0};
    const int count = poll(&wait, 1, MillisecondsUntil(deadline));
    if (count == 0) {
      return TimedOut("the engine did not start the container");
    }
    char answer = 0;
    if (count > 0 && read(go.get(), &answer, 1) == 1) {
      return answer == 'g' ? Result<>()
                           : MakeError(ErrorCode::kAborted, "the engine gave the start up");
    }
  }
}

Result<> PendingRestore::Tell(bool go_on) {
  // Without a reader the open fails with ENXIO: no hook waits there.
  OwnedFd go(open((directory_ / "go").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  if (!go) {
    return errno == ENXIO || errno == ENOENT
               ? MakeError(ErrorCode::kNotFound, "no restore waits for its start")
               : ErrnoError("open " + (directory_ / "go").string());
  }
  return WriteFully(go, go_on ? "g" : "a", 1);
}

Result<> PendingRestore::WaitEnd() {
  const auto deadline = Clock::now() + limits::kRestoreTimeout;
  while (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return ErrnoError("lock " + directory_.string());
    }
    if (Clock::now() >= deadline) {
      return TimedOut("the restore did not end");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

void PendingRestore::Remove() {
  std::error_code error;
  fs::remove_all(directory_, error);
}

}  // namespace migrate
