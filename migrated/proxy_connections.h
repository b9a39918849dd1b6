// Connections that pass through docker-proxy, Docker's process between client and container where
// its translation rules do not reach: those to 127.0.0.1 of the host, to its IPv6 addresses for a
// container without one, and of a neighbour container to a published port. That process ends with
// the old container, and they with it; the preflight says so. Reads only; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"

namespace migrate {

struct ProxyEnd {
  Protocol protocol = Protocol::kTcp;
  std::string container_address;
  std::uint16_t container_port = 0;

  bool operator==(const ProxyEnd&) const = default;
};

// Pure. The command line of a docker-proxy, as /proc/PID/cmdline has it; nothing if it is not one.
std::optional<ProxyEnd> ParseProxyCommand(std::string_view command_line);

// How many connections of docker-proxy processes lead to one of these addresses now.
Result<int> CountProxiedConnections(FdRef host_netns,
                                    const std::vector<std::string>& container_addresses);

// For the operator; empty for 0.
std::string DescribeProxiedConnections(int count);

}  // namespace migrate
