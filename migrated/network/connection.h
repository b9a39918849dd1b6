// Connection: the four-tuple of a TCP connection or connected UDP socket, as its container sees it.
// Plain values; addresses are text as inet_ntop() writes it, ports in host order.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace migrate {

enum class Protocol : std::uint8_t { kTcp = 6, kUdp = 17 };  // IP protocol numbers

inline const char* ProtocolName(Protocol protocol) {
  return protocol == Protocol::kTcp ? "tcp" : "udp";
}

struct Connection {
  Protocol protocol = Protocol::kTcp;
  std::string local_address;
  std::uint16_t local_port = 0;
  std::string remote_address;
  std::uint16_t remote_port = 0;

  auto operator<=>(const Connection&) const = default;
};

// A socket that waits at one address: a TCP listener or an unconnected UDP socket.
struct BoundPort {
  Protocol protocol = Protocol::kTcp;
  std::string address;
  std::uint16_t port = 0;

  auto operator<=>(const BoundPort&) const = default;
};

}  // namespace migrate
