#include "base/netns.h"

#include <fcntl.h>
#include <sched.h>

#include <string>
#include <thread>

#include "base/file_util.h"

namespace migrate {

Result<OwnedFd> OpenNetns(int pid) {
  return OpenFile("/proc/" + std::to_string(pid) + "/ns/net", O_RDONLY);
}

Result<> InNetns(FdRef netns, const std::function<Result<>()>& function) {
  Result<> result;
  std::thread([&] {
    if (setns(netns.get(), CLONE_NEWNET) != 0) {
      result = ErrnoError("setns");
    } else {
      result = function();
    }
  }).join();
  return result;
}

}  // namespace migrate
