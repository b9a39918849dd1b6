#include "migrated/network/silent_close.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "migrated/network/process_sockets.h"

namespace migrate {

Result<int> SilenceConnections(const std::vector<int>& processes) {
  int silenced = 0;
  TRY(ForEachSocket(processes, [&](FdRef socket) {
    const int on = 1;
    // Refused for everything that is not TCP, and for listeners, which have nobody to tell.
    silenced += setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) == 0 ? 1 : 0;
  }));
  return silenced;
}

}  // namespace migrate
