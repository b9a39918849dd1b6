#include "migrated/peer_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include <array>

#include "migrated/config.h"

namespace migrate {
namespace {

Result<std::string> Resolve(const std::string& endpoint, int family, const char* family_name) {
  const HostPort peer = TRY(ParseHostPort(endpoint, kDefaultPeerPort));
  addrinfo hints{};
  hints.ai_family = family;
  addrinfo* list = nullptr;
  const int failed = getaddrinfo(peer.host.c_str(), nullptr, &hints, &list);
  if (failed != 0) {
    return MakeError(ErrorCode::kUnavailable, std::string("no ") + family_name + " address for " +
                                                  peer.host + ": " + gai_strerror(failed));
  }
  std::array<char, NI_MAXHOST> text{};
  getnameinfo(list->ai_addr, list->ai_addrlen, text.data(), text.size(), nullptr, 0,
              NI_NUMERICHOST);
  freeaddrinfo(list);
  return std::string(text.data());
}

}  // namespace

Result<std::string> ResolveIpv4(const std::string& endpoint) {
  return Resolve(endpoint, AF_INET, "IPv4");
}

Result<std::string> ResolveIpv6(const std::string& endpoint) {
  return Resolve(endpoint, AF_INET6, "IPv6");
}

}  // namespace migrate
