// Before the freeze: a handshake that is under way, a connection that waits to be accepted, and a
// datagram that nobody has read yet exist in the source's kernel alone; no checkpoint can carry
// them. While new connections are held back (network/hold_queue.h) the container gets a moment to
// take what is there.
//
// FindUnsettled is pure; WaitUntilSettled blocks. Any thread.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/sockets.h"

namespace migrate {

struct Unsettled {
  int handshakes = 0;  // SYN seen, not yet established
  int unaccepted = 0;  // established, and the container has not accepted them
  int datagrams = 0;   // UDP sockets with something unread
  int closing = 0;     // closed by the container, with bytes that the kernel still owes the client
  std::uint64_t owed = 0;  // those bytes
  std::string listener;    // one that has unaccepted connections, "0.0.0.0:80"

  bool connections() const { return handshakes + unaccepted + closing > 0; }
  bool nothing() const { return !connections() && datagrams == 0; }
};

Unsettled FindUnsettled(const std::vector<SocketInfo>& sockets);

// Returns when no connection is in the making or ending. Handshakes whose client has gone silent
// are not waited for longer than `kHandshakePatience`, closed connections whose client does not
// read not longer than `kAcceptPatience`; connections that the container does not accept are an
// error (UNACCEPTED_CONNECTIONS), since they would be lost.
Result<> WaitUntilSettled(FdRef netns, const std::stop_token& stop);

// The last look, with everything held: gives the container a few milliseconds to read its datagrams
// and accept. Never an error; what is left then is in the result.
Result<Unsettled> WaitForLastBytes(FdRef netns);

inline constexpr auto kHandshakePatience = std::chrono::milliseconds(300);
// Without any progress; a container that accepts slowly but steadily gets longer.
inline constexpr auto kAcceptPatience = std::chrono::milliseconds(1000);
inline constexpr auto kAcceptPatienceInAll = std::chrono::seconds(10);
inline constexpr auto kLastBytesPatience = std::chrono::milliseconds(10);

}  // namespace migrate
