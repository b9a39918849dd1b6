#include "migrated/network/silent_close.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <string>

#include "base/owned_fd.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

OwnedFd BorrowSocket(FdRef pidfd, const std::string& number) {
  int fd = -1;
  std::from_chars(number.data(), number.data() + number.size(), fd);
  return OwnedFd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0)));
}

bool Silence(FdRef socket) {
  const int on = 1;
  // Refused for everything that is not TCP, and for listeners, which have nobody to tell.
  return setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0;
}

}  // namespace

Result<int> SilenceConnections(const std::vector<int>& processes) {
  int silenced = 0;
  for (const int pid : processes) {
    const OwnedFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
      if (errno == ESRCH) {
        continue;
      }
      return ErrnoError("pidfd_open " + std::to_string(pid));
    }
    std::error_code error;
    for (const auto& entry :
         fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
      if (!fs::read_symlink(entry.path(), error).string().starts_with("socket:")) {
        continue;
      }
      const OwnedFd socket = BorrowSocket(pidfd, entry.path().filename());
      silenced += socket && Silence(socket) ? 1 : 0;
    }
  }
  return silenced;
}

}  // namespace migrate
