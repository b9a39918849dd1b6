#include "migrated/network/process_sockets.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <string>

namespace migrate {
namespace {

namespace fs = std::filesystem;

OwnedFd BorrowSocket(FdRef pidfd, const std::string& number) {
  int fd = -1;
  std::from_chars(number.data(), number.data() + number.size(), fd);
  return OwnedFd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0)));
}

int IntegerOption(FdRef socket, int level, int name, int otherwise) {
  int value = otherwise;
  socklen_t size = sizeof value;
  return getsockopt(socket.get(), level, name, &value, &size) == 0 ? value : otherwise;
}

bool IsTcp(FdRef socket) {
  return IntegerOption(socket, SOL_SOCKET, SO_PROTOCOL, 0) == IPPROTO_TCP;
}

// CRIU restores a connection before its options, and the kernel goes on with the segment size that
// it assumed then, 536. Setting the IP options that are there already makes it look again.
void RenewSegmentSize(FdRef socket) {
  std::array<char, 40> options{};
  socklen_t size = options.size();
  if (getsockopt(socket.get(), IPPROTO_IP, IP_OPTIONS, options.data(), &size) == 0) {
    (void)setsockopt(socket.get(), IPPROTO_IP, IP_OPTIONS, options.data(), size);
  }
}

// Switching Nagle's algorithm off sends what waits; the option is put back afterwards.
bool Push(FdRef socket) {
  int unsent = 0;
  if (!IsTcp(socket)) {
    return false;
  }
  RenewSegmentSize(socket);
  if (ioctl(socket.get(), SIOCOUTQNSD, &unsent) != 0 || unsent == 0) {
    return false;
  }
  const int before = IntegerOption(socket, IPPROTO_TCP, TCP_NODELAY, 0);
  const int on = 1;
  if (setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    return false;
  }
  if (before == 0) {
    (void)setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &before, sizeof before);
  }
  return true;
}

bool HasUrgent(FdRef socket) {
  pollfd poll_for{socket.get(), POLLPRI, 0};
  return IsTcp(socket) && poll(&poll_for, 1, 0) == 1 && (poll_for.revents & POLLPRI) != 0;
}

}  // namespace

Result<> ForEachSocket(const std::vector<int>& processes,
                       const std::function<void(FdRef socket)>& visit) {
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
      if (const OwnedFd socket = BorrowSocket(pidfd, entry.path().filename()); socket) {
        visit(socket);
      }
    }
  }
  return {};
}

Result<int> PushUnsent(const std::vector<int>& processes) {
  int pushed = 0;
  TRY(ForEachSocket(processes, [&](FdRef socket) { pushed += Push(socket) ? 1 : 0; }));
  return pushed;
}

Result<int> CountUnreadUrgent(const std::vector<int>& processes) {
  int found = 0;
  TRY(ForEachSocket(processes, [&](FdRef socket) { found += HasUrgent(socket) ? 1 : 0; }));
  return found;
}

}  // namespace migrate
