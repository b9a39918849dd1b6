#include "migrated/replica_timers.h"

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

bool HasUnreadExpirations(const std::string& process, const std::string& fd) {
  const auto info = ReadSmallFile(process + "/fdinfo/" + fd);
  const auto at = info ? info->find("\nticks:") : std::string::npos;
  unsigned long long ticks = 0;
  return at != std::string::npos && std::sscanf(info->c_str() + at, "\nticks: %llu", &ticks) == 1 &&
         ticks > 0;
}

bool Rearm(FdRef timer) {
  itimerspec time{};
  if (timerfd_gettime(timer.get(), &time) != 0) {
    return false;
  }
  const bool periodic = time.it_interval.tv_sec != 0 || time.it_interval.tv_nsec != 0;
  const bool armed = time.it_value.tv_sec != 0 || time.it_value.tv_nsec != 0;
  if (!periodic || armed) {
    return false;
  }
  time.it_value.tv_nsec = 1;  // expires at once: to the reader it is still unread
  return timerfd_settime(timer.get(), 0, &time, nullptr) == 0;
}

}  // namespace

Result<int> RearmExpiredTimers(const std::vector<int>& processes) {
  int rearmed = 0;
  for (const int pid : processes) {
    const OwnedFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
      continue;  // it has ended
    }
    const std::string process = "/proc/" + std::to_string(pid);
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(process + "/fd", error)) {
      const std::string name = entry.path().filename();
      if (fs::read_symlink(entry.path(), error) != "anon_inode:[timerfd]" ||
          !HasUnreadExpirations(process, name)) {
        continue;
      }
      int number = -1;
      std::from_chars(name.data(), name.data() + name.size(), number);
      const OwnedFd timer(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)));
      if (!timer) {
        return ErrnoError("pidfd_getfd");
      }
      rearmed += Rearm(timer) ? 1 : 0;
    }
  }
  return rearmed;
}

}  // namespace migrate
