#include "migrated/proxy_connections.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <system_error>

#include "base/file_util.h"
#include "migrated/network/sockets.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kProxy = "docker-proxy";

std::vector<std::string_view> Split(std::string_view command_line) {
  std::vector<std::string_view> words;
  while (!command_line.empty()) {
    const auto end = command_line.find('\0');
    words.push_back(command_line.substr(0, end));
    command_line.remove_prefix(end == std::string_view::npos ? command_line.size() : end + 1);
  }
  return words;
}

bool LeadsTo(const SocketInfo& socket, const ProxyEnd& end) {
  return socket.protocol == end.protocol && socket.remote_address == end.container_address &&
         socket.remote_port == end.container_port;
}

// Inodes of the sockets that a process has open.
std::set<std::uint32_t> SocketsOf(const fs::path& process) {
  constexpr std::string_view kPrefix = "socket:[";
  std::set<std::uint32_t> inodes;
  std::error_code error;
  for (fs::directory_iterator it(process / "fd", error), end; !error && it != end;
       it.increment(error)) {
    std::error_code gone;
    const std::string link = fs::read_symlink(it->path(), gone).string();
    std::uint32_t inode = 0;
    if (!gone && link.starts_with(kPrefix) &&
        std::from_chars(link.data() + kPrefix.size(), link.data() + link.size(), inode).ec ==
            std::errc()) {
      inodes.insert(inode);
    }
  }
  return inodes;
}

}  // namespace

std::optional<ProxyEnd> ParseProxyCommand(std::string_view command_line) {
  const std::vector<std::string_view> words = Split(command_line);
  if (words.empty() || !words[0].ends_with(kProxy)) {
    return std::nullopt;
  }
  ProxyEnd end;
  for (std::size_t i = 1; i + 1 < words.size(); ++i) {
    const std::string_view value = words[i + 1];
    if (words[i] == "-proto" && value == "udp") {
      end.protocol = Protocol::kUdp;
    } else if (words[i] == "-proto" && value != "tcp") {
      return std::nullopt;  // SCTP: no relay leads it either
    } else if (words[i] == "-container-ip") {
      end.container_address = value;
    } else if (words[i] == "-container-port") {
      std::from_chars(value.data(), value.data() + value.size(), end.container_port);
    }
  }
  return end.container_address.empty() || end.container_port == 0 ? std::nullopt
                                                                  : std::optional(end);
}

Result<int> CountProxiedConnections(FdRef host_netns,
                                    const std::vector<std::string>& container_addresses) {
  std::vector<SocketInfo> sockets = TRY(ListSockets(host_netns));
  std::erase_if(sockets, [&](const SocketInfo& socket) {
    return socket.state != SocketState::kEstablished || socket.inode == 0 ||
           std::find(container_addresses.begin(), container_addresses.end(),
                     socket.remote_address) == container_addresses.end();
  });
  int count = 0;
  std::error_code error;
  // Most often there is none, and no process has to be looked at.
  for (fs::directory_iterator it("/proc", error), end; !sockets.empty() && !error && it != end;
       it.increment(error)) {
    const auto name = ReadSmallFile(it->path() / "comm");
    if (!name || *name != std::string(kProxy) + "\n") {
      continue;
    }
    const auto command_line = ReadSmallFile(it->path() / "cmdline");
    const auto proxy = command_line ? ParseProxyCommand(*command_line) : std::nullopt;
    if (!proxy || std::none_of(sockets.begin(), sockets.end(),
                               [&](const SocketInfo& socket) { return LeadsTo(socket, *proxy); })) {
      continue;
    }
    const std::set<std::uint32_t> own = SocketsOf(it->path());
    count += static_cast<int>(
        std::count_if(sockets.begin(), sockets.end(), [&](const SocketInfo& socket) {
          return own.contains(socket.inode) && LeadsTo(socket, *proxy);
        }));
  }
  return count;
}

std::string DescribeProxiedConnections(int count) {
  if (count == 0) {
    return {};
  }
  return std::to_string(count) + (count == 1 ? " connection passes" : " connections pass") +
         " through docker-proxy (clients on this host by 127.0.0.1, other containers by a "
         "published port, IPv6 to a container without it) and will be closed; their clients must "
         "connect again";
}

}  // namespace migrate
