#include "migrated/settle.h"

#include "base/stop_wait.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLook = std::chrono::milliseconds(2);

// No process has it any more; the kernel alone sends the rest, and CRIU cannot see it.
bool IsOrphan(const SocketInfo& socket) {
  return socket.inode == 0 &&
         (socket.state == SocketState::kFinWait1 || socket.state == SocketState::kLastAck ||
          socket.state == SocketState::kClosing);
}

Error Unaccepted(const Unsettled& left) {
  return MakeError(ErrorCode::kFailedPrecondition,
                   std::to_string(left.unaccepted) + " connections at " + left.listener +
                       " wait to be accepted, and the container does not accept them; they would "
                       "be lost: move it when it is less busy",
                   "UNACCEPTED_CONNECTIONS");
}

}  // namespace

Unsettled FindUnsettled(const std::vector<SocketInfo>& sockets) {
  Unsettled found;
  for (const SocketInfo& socket : sockets) {
    if (socket.protocol == Protocol::kUdp) {
      found.datagrams += socket.receive_queue > 0 ? 1 : 0;
      continue;
    }
    if (socket.state == SocketState::kSynRecv || socket.state == SocketState::kNewSynRecv) {
      ++found.handshakes;
    } else if (IsOrphan(socket) && socket.send_queue > 0) {
      ++found.closing;
      found.owed += socket.send_queue;
    } else if (socket.state == SocketState::kListen && socket.receive_queue > 0) {
      found.unaccepted += static_cast<int>(socket.receive_queue);
      found.listener = socket.local_address + ":" + std::to_string(socket.local_port);
    }
  }
  return found;
}

Result<> WaitUntilSettled(FdRef netns, const std::stop_token& stop) {
  const auto start = Clock::now();
  auto progress = start;
  auto sending = start;
  int fewest = INT32_MAX;
  std::uint64_t least = UINT64_MAX;
  for (;;) {
    const Unsettled left = FindUnsettled(TRY(ListSockets(netns)));
    const auto now = Clock::now();
    const bool handshakes = left.handshakes > 0 && now - start < kHandshakePatience;
    if (left.owed < least) {
      least = left.owed;
      sending = now;
    }
    const bool closing =
        left.closing > 0 && now - sending < kAcceptPatience && now - start < kAcceptPatienceInAll;
    if (!handshakes && left.unaccepted == 0 && !closing) {
      return {};
    }
    if (left.unaccepted < fewest) {
      fewest = left.unaccepted;
      progress = now;
    }
    if (left.unaccepted > 0 &&
        (now - progress > kAcceptPatience || now - start > kAcceptPatienceInAll)) {
      return Unaccepted(left);
    }
    if (WaitForStop(stop, kLook)) {
      return MakeError(ErrorCode::kCancelled, "cancelled");
    }
  }
}

Result<Unsettled> WaitForLastBytes(FdRef netns) {
  const auto start = Clock::now();
  for (;;) {
    Unsettled left = FindUnsettled(TRY(ListSockets(netns)));
    left.handshakes = 0;  // their clients are held by now
    if (left.nothing() || Clock::now() - start > kLastBytesPatience) {
      return left;
    }
    (void)WaitForStop({}, std::chrono::milliseconds(1));
  }
}

}  // namespace migrate
