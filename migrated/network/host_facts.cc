#include "migrated/network/host_facts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/subnet.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/rtnl.h"

namespace migrate {
namespace {

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<Endpoint> MakeEndpoint(const std::string& address, std::uint16_t port) {
  Endpoint endpoint;
  auto* four = reinterpret_cast<sockaddr_in*>(&endpoint.storage);
  auto* six = reinterpret_cast<sockaddr_in6*>(&endpoint.storage);
  if (address.empty() || inet_pton(AF_INET, address.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    endpoint.size = sizeof *four;
  } else if (inet_pton(AF_INET6, address.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    endpoint.size = sizeof *six;
  } else {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + address + "\" is not an IP address");
  }
  return endpoint;
}

Result<bool> UsableHere(Protocol protocol, const Endpoint& endpoint) {
  int type = protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  OwnedFd socket(::socket(endpoint.storage.ss_family, type | SOCK_CLOEXEC, 0));
  if (!socket) {
    return ErrnoError("socket");
  }
  int on = 1;
  if (endpoint.storage.ss_family == AF_INET6) {
    setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (protocol == Protocol::kTcp) {
    // Connections that are closing do not keep a listener from its port.
    setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  if (bind(socket.get(), endpoint.address(), endpoint.size) == 0 &&
      (protocol == Protocol::kUdp || listen(socket.get(), 1) == 0)) {
    return true;
  }
  if (errno == EADDRINUSE || errno == EADDRNOTAVAIL || errno == EACCES) {
    return false;
  }
  return ErrnoError("bind");
}

Result<std::string> SourceHere(const std::string& peer, const Endpoint& endpoint) {
  OwnedFd socket(::socket(endpoint.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) {
    return ErrnoError("socket");
  }
  Endpoint own;
  own.size = sizeof own.storage;
  // Connecting a datagram socket looks the route up and sends nothing.
  if (connect(socket.get(), endpoint.address(), endpoint.size) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own.storage), &own.size) != 0) {
    auto error = ErrnoError("no route to " + peer);
    error.code = ErrorCode::kUnavailable;
    return error;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (own.storage.ss_family == AF_INET) {
    auto* four = reinterpret_cast<sockaddr_in*>(&own.storage);
    return std::string(inet_ntop(AF_INET, &four->sin_addr, text.data(), text.size()));
  }
  auto* six = reinterpret_cast<sockaddr_in6*>(&own.storage);
  return std::string(inet_ntop(AF_INET6, &six->sin6_addr, text.data(), text.size()));
}

Result<std::vector<LocalNetwork>> NetworksHere(int family) {
  auto rtnl = TRY(Rtnl::Open());
  std::vector<LocalNetwork> networks;
  for (auto& route : TRY(rtnl.Routes(family))) {
    if (!route.destination.ends_with("/0")) {
      networks.push_back({std::move(route.destination), std::move(route.link)});
    }
  }
  auto key = [](const LocalNetwork& n) { return n.subnet + " " + n.link; };
  std::sort(networks.begin(), networks.end(),
            [&](const auto& a, const auto& b) { return key(a) < key(b); });
  networks.erase(std::unique(networks.begin(), networks.end(),
                             [&](const auto& a, const auto& b) { return key(a) == key(b); }),
                 networks.end());
  return networks;
}

}  // namespace

Result<bool> UsablePort(FdRef netns, Protocol protocol, const std::string& address,
                        std::uint16_t port) {
  auto endpoint = TRY(MakeEndpoint(address, port));
  return ValueInNetns<bool>(netns, [&] { return UsableHere(protocol, endpoint); });
}

Result<std::string> SourceAddressToward(FdRef netns, const std::string& peer) {
  auto endpoint = TRY(MakeEndpoint(peer, 9));
  return ValueInNetns<std::string>(netns, [&] { return SourceHere(peer, endpoint); });
}

Result<std::vector<LocalNetwork>> LocalNetworks(FdRef netns) {
  return ValueInNetns<std::vector<LocalNetwork>>(netns, [] { return NetworksHere(AF_INET); });
}

Result<std::string> LinkToward(FdRef netns, const std::string& address) {
  const bool six = address.find(':') != std::string::npos;
  const auto networks = TRY(ValueInNetns<std::vector<LocalNetwork>>(
      netns, [&] { return NetworksHere(six ? AF_INET6 : AF_INET); }));
  for (const LocalNetwork& network : networks) {
    if (!network.link.empty() && network.link != "lo" &&
        !network.subnet.ends_with(six ? "/128" : "/32") &&
        SubnetContains(network.subnet, address)) {
      return network.link;
    }
  }
  return MakeError(ErrorCode::kNotFound, "no interface leads to " + address);
}

}  // namespace migrate
