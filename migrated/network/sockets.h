// ListSockets: the TCP and UDP sockets, IPv4 and IPv6, of a network namespace, from sock_diag. It
// sees sockets of all processes, those without a process included (TIME_WAIT, orphans, pending
// handshakes). An IPv4-mapped IPv6 address is given as IPv4. Thread-safe; reads only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"

namespace migrate {

// The kernel's numbers. A UDP socket is kEstablished if connected, else kClose.
enum class SocketState : std::uint8_t {
  kEstablished = 1,
  kSynSent,
  kSynRecv,
  kFinWait1,
  kFinWait2,
  kTimeWait,
  kClose,
  kCloseWait,
  kLastAck,
  kListen,
  kClosing,
  kNewSynRecv,
};

struct SocketInfo {
  Protocol protocol = Protocol::kTcp;
  SocketState state = SocketState::kClose;
  bool ipv6 = false;  // family of the socket; its addresses may be IPv4 all the same
  std::string local_address;
  std::uint16_t local_port = 0;
  std::string remote_address;  // "0.0.0.0" or "::" if none
  std::uint16_t remote_port = 0;
  std::uint32_t inode = 0;  // 0: no process has it
  std::uint32_t uid = 0;
  std::uint32_t receive_queue = 0;  // bytes; of a listener: connections to be accepted
  std::uint32_t send_queue = 0;     // bytes; of a listener: the backlog

  Connection connection() const {
    return {protocol, local_address, local_port, remote_address, remote_port};
  }
};

Result<std::vector<SocketInfo>> ListSockets(FdRef netns);

// Ends those TCP connections, not listeners, for which `which` says so: the other end gets a RST,
// the program an error. The number. kFailedPrecondition if the kernel cannot (it was built without
// CONFIG_INET_DIAG_DESTROY).
Result<int> EndConnections(FdRef netns, const std::function<bool(const Connection&)>& which);

// What a relay has to know of a container's sockets. Loopback is left out, as are the link-local
// addresses of IPv6: they mean nothing beyond one network.
struct RelaySockets {
  std::vector<Connection> connections;  // with a peer that may still send or expect bytes
  std::vector<BoundPort> bound;         // waiting at one address, not at 0.0.0.0 or ::
};
RelaySockets SelectRelaySockets(const std::vector<SocketInfo>& sockets);

}  // namespace migrate
