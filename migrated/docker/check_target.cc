#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/subnet.h"
#include "base/owned_fd.h"
#include "migrated/docker/json_util.h"
#include "migrated/docker/preflight.h"

namespace migrate {

namespace {

using Blockers = std::vector<Blocker>;

// "addr/prefix" of every interface of this network namespace, with its name.
std::vector<std::pair<std::string, std::string>> InterfaceSubnets() {
  std::vector<std::pair<std::string, std::string>> result;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) {
    return result;
  }
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr == nullptr || item->ifa_netmask == nullptr ||
        item->ifa_addr->sa_family != AF_INET) {
      continue;
    }
    sockaddr_in address{};
    sockaddr_in mask{};
    std::memcpy(&address, item->ifa_addr, sizeof address);
    std::memcpy(&mask, item->ifa_netmask, sizeof mask);
    std::array<char, INET_ADDRSTRLEN> text{};
    inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    const int prefix = __builtin_popcount(mask.sin_addr.s_addr);
    result.emplace_back(std::string(text.data()) + "/" + std::to_string(prefix), item->ifa_name);
  }
  return result;
}

Result<> CheckName(DockerClient& client, const ContainerSpec& spec, Blockers& out) {
  auto other = client.InspectContainer(spec.name);
  if (!other) {
    return other.error().code == ErrorCode::kNotFound ? Result<>() : Result<>(other.error());
  }
  if (other->name == spec.name) {  // and not an id that begins like that
    out.push_back({"NAME_TAKEN", spec.name, "the target has a container of this name",
                   "rename or remove the container " + other->id.substr(0, 12) + " there"});
  }
  return {};
}

void CheckEngine(const EngineInfo& engine, const ContainerSpec& spec,
                 const TargetCheckOptions& options, Blockers& out) {
  auto differs = [&out](const char* code, const std::string& here, const std::string& source,
                        const char* what) {
    if (here != source) {
      out.push_back({code, here, std::string(what) + " is " + here + ", at the source " + source,
                     "choose another target"});
    }
  };
  differs("ARCHITECTURE", engine.architecture, spec.engine.architecture, "the architecture");
  differs("ARCHITECTURE", engine.os_type, spec.engine.os_type, "the operating system");
  differs("STORAGE_DRIVER", engine.storage_driver, spec.storage_driver, "the storage driver");
  differs("CGROUP_VERSION", engine.cgroup_version, spec.engine.cgroup_version,
          "the cgroup version");
  const Json host = Json::parse(spec.host_config_json, nullptr, false);
  if (!JsonEmpty(host, "CgroupParent")) {
    differs("CGROUP_DRIVER", engine.cgroup_driver, spec.engine.cgroup_driver,
            "the container names a parent cgroup, and the cgroup driver");
  }
  if (JsonBool(host, "Init")) {
    // The init program is a file of the host that runs in the container: it has to be the same.
    differs("INIT_PROGRAM", engine.init_commit, spec.engine.init_commit,
            "the container uses --init, and the version of docker-init");
  }
  auto has = [](const std::vector<std::string>& list, const std::string& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
  };
  if (!has(engine.runtimes, options.runtime_name)) {
    out.push_back({"RUNTIME_MISSING", options.runtime_name,
                   "the engine does not know the OCI runtime " + options.runtime_name,
                   "run `migrate-runtime register` at the target and reload its engine"});
  }
  if (!engine.log_drivers.empty() && spec.log_driver != "none" &&
      !has(engine.log_drivers, spec.log_driver)) {
    out.push_back({"LOG_DRIVER_MISSING", spec.log_driver,
                   "the engine does not have the log driver " + spec.log_driver,
                   "install the log driver at the target"});
  }
}

void CheckSpace(const EngineInfo& engine, std::int64_t required, Blockers& out) {
  struct statvfs status {};
  if (::statvfs(engine.root_dir.c_str(), &status) != 0) {
    out.push_back({"NO_SPACE", engine.root_dir, std::strerror(errno),
                   "the daemon must run on the engine's own host"});
    return;
  }
  const auto available =
      static_cast<std::int64_t>(status.f_bavail) * static_cast<std::int64_t>(status.f_frsize);
  if (available < required) {
    out.push_back(
        {"NO_SPACE", engine.root_dir,
         std::to_string(required) + " bytes are needed, " + std::to_string(available) + " are free",
         "free some space at the target"});
  }
}

bool AnyAddress(const std::string& ip) { return ip.empty() || ip == "0.0.0.0" || ip == "::"; }

bool SameHostPort(const PublishedPort& a, const PublishedPort& b) {
  const auto protocol = [](const PublishedPort& port) {
    return port.container_port.substr(port.container_port.find('/') + 1);
  };
  return a.host_port == b.host_port && protocol(a) == protocol(b) &&
         (AnyAddress(a.host_ip) || AnyAddress(b.host_ip) || a.host_ip == b.host_ip);
}

// 0, or the errno of an attempt to bind the port.
int TryBind(const PublishedPort& port) {
  const bool tcp = port.container_port.ends_with("/tcp");
  if (!tcp && !port.container_port.ends_with("/udp")) {
    return 0;  // SCTP: left to the engine
  }
  const bool v6 = port.host_ip.find(':') != std::string::npos;
  const OwnedFd fd(
      ::socket(v6 ? AF_INET6 : AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!fd) {
    return errno == EAFNOSUPPORT ? 0 : errno;
  }
  const int on = 1;
  if (tcp) {
    // Connections in TIME_WAIT do not hold the port; a listener does in spite of this.
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  int outcome = 0;
  if (v6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<std::uint16_t>(port.host_port));
    inet_pton(AF_INET6, port.host_ip.c_str(), &address.sin6_addr);
    outcome = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port.host_port));
    inet_pton(AF_INET, port.host_ip.empty() ? "0.0.0.0" : port.host_ip.c_str(), &address.sin_addr);
    outcome = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  return outcome == 0 ? 0 : errno;
}

Result<> CheckPorts(DockerClient& client, const ContainerSpec& spec, Blockers& out) {
  if (spec.ports.empty()) {
    return {};
  }
  const auto running = TRY(client.ListContainers(/*all=*/false));
  std::set<std::string> reported;
  for (const PortSpec& item : spec.ports) {
    const PublishedPort& port = item.port;
    const std::string subject = (AnyAddress(port.host_ip) ? "" : port.host_ip + ":") +
                                std::to_string(port.host_port) +
                                port.container_port.substr(port.container_port.find('/'));
    std::string user;
    for (const ContainerSummary& container : running) {
      for (const PublishedPort& other : container.ports) {
        if (SameHostPort(port, other)) {
          user = "container " + container.name;
        }
      }
    }
    const int error = user.empty() ? TryBind(port) : 0;
    if (error == EADDRINUSE) {
      user = "a process of the host";
    }
    if (!user.empty() && reported.insert(subject).second) {
      out.push_back({"PORT_TAKEN", subject, "the published port is in use by " + user,
                     "free the port at the target"});
    } else if (error == EADDRNOTAVAIL && reported.insert(subject).second) {
      out.push_back({"PORT_ADDRESS", subject,
                     "the port is published on an address that the target does not have",
                     "publish it on every address, or give the target this address"});
    }
  }
  return {};
}

void CheckExistingNetwork(const NetworkSpec& wanted, const NetworkInfo& here, Blockers& out) {
  if (here.driver != wanted.driver) {
    out.push_back({"NETWORK_DRIVER", wanted.name,
                   "the target's network of this name is of the driver " + here.driver,
                   "rename or remove it at the target"});
    return;
  }
  for (const Subnet& subnet : wanted.subnets) {
    const bool found =
        std::any_of(here.subnets.begin(), here.subnets.end(),
                    [&](const Subnet& other) { return SameSubnet(subnet.subnet, other.subnet); });
    if (!found) {
      out.push_back({"SUBNET_CONFLICT", wanted.name,
                     "the target's network of this name lacks the subnet " + subnet.subnet,
                     "remove it at the target, or create it there with this subnet"});
    }
  }
  for (const std::string& address : {wanted.ipv4, wanted.ipv6}) {
    const auto user = here.addresses_in_use.find(address);
    if (!address.empty() && user != here.addresses_in_use.end()) {
      out.push_back(
          {"ADDRESS_TAKEN", address,
           "in network " + wanted.name + " of the target it belongs to container " + user->second,
           "stop or disconnect " + user->second + " there"});
    }
  }
}

void CheckNewNetwork(const NetworkSpec& wanted, const std::vector<NetworkInfo>& networks,
                     Blockers& out) {
  const auto interfaces = InterfaceSubnets();
  for (const Subnet& subnet : wanted.subnets) {
    std::string conflict;
    for (const NetworkInfo& network : networks) {
      for (const Subnet& other : network.subnets) {
        if (conflict.empty() && SubnetsOverlap(subnet.subnet, other.subnet)) {
          conflict = "the network " + network.name + " (" + other.subnet + ")";
        }
      }
    }
    for (const auto& [address, name] : interfaces) {
      if (conflict.empty() && SubnetsOverlap(subnet.subnet, address)) {
        conflict = "the interface " + name + " (" + address + ")";
      }
    }
    if (!conflict.empty()) {
      out.push_back(
          {"SUBNET_CONFLICT", wanted.name,
           "its subnet " + subnet.subnet + " overlaps with " + conflict + " of the target",
           "remove what overlaps, or give the network another subnet at the source"});
    }
  }
}

Result<> CheckNetworks(DockerClient& client, const ContainerSpec& spec, Blockers& out) {
  const auto networks = TRY(client.ListNetworks());
  for (const NetworkSpec& wanted : spec.networks) {
    if (!wanted.user_defined) {
      continue;
    }
    const auto same = std::find_if(networks.begin(), networks.end(), [&](const NetworkInfo& item) {
      return item.name == wanted.name;
    });
    if (same == networks.end()) {
      CheckNewNetwork(wanted, networks, out);
    } else {
      // The list does not say who uses which address.
      CheckExistingNetwork(wanted, TRY(client.InspectNetwork(same->id)), out);
    }
  }
  return {};
}

Result<> CheckVolume(DockerClient& client, const MountSpec& mount,
                     const TargetCheckOptions& options, Blockers& out) {
  auto volume = client.InspectVolume(mount.name);
  if (!volume) {
    return volume.error().code == ErrorCode::kNotFound ? Result<>() : Result<>(volume.error());
  }
  if (volume->driver != "local" || volume->options != mount.options) {
    out.push_back({"VOLUME_TAKEN", mount.name,
                   "the target has a volume of this name with another driver or other options",
                   "remove or rename it at the target"});
    return {};
  }
  const auto users = TRY(client.ListContainers(/*all=*/false, {{"volume", mount.name}}));
  if (!users.empty()) {
    out.push_back({"VOLUME_TAKEN", mount.name,
                   "container " + users.front().name + " of the target uses a volume of this name",
                   "stop " + users.front().name + " there"});
  } else if (options.ours_from_earlier_move.count(mount.name) == 0 &&
             !IsEmptyDirectory(volume->mountpoint)) {
    out.push_back({"VOLUME_TAKEN", mount.name,
                   "the target has a volume of this name that is not empty",
                   "docker volume rm " + mount.name + " at the target, if it is not needed"});
  }
  return {};
}

void CheckBind(const MountSpec& mount, const TargetCheckOptions& options, Blockers& out) {
  std::error_code error;
  const std::filesystem::path path(mount.source_path);
  const bool exists = std::filesystem::exists(path, error);
  if (options.bind_mounts == BindMountPolicy::kExisting) {
    if (!exists) {
      out.push_back(
          {"BIND_MISSING", mount.source_path,
           "the container mounts it at " + mount.destination + ", and the target does not have it",
           "create it at the target, or use --bind-mounts=copy"});
    }
  } else if (options.bind_mounts == BindMountPolicy::kCopy && exists &&
             options.ours_from_earlier_move.count(mount.source_path) == 0 &&
             !IsEmptyDirectory(mount.source_path)) {
    out.push_back({"BIND_TAKEN", mount.source_path,
                   "it is to be copied, and the target has something there already",
                   "move it away at the target, or use --bind-mounts=existing"});
  }
}

}  // namespace

bool IsEmptyDirectory(const std::string& path) {
  std::error_code error;
  const std::filesystem::directory_iterator entries(path, error);
  return !error && entries == std::filesystem::directory_iterator();
}

Result<std::vector<Blocker>> CheckTarget(DockerClient& client, const ContainerSpec& spec,
                                         const TargetCheckOptions& options) {
  Blockers out;
  const EngineInfo engine = TRY(client.Info());
  CheckEngine(engine, spec, options, out);
  CheckSpace(engine, options.required_bytes, out);
  TRY(CheckName(client, spec, out));
  TRY(CheckPorts(client, spec, out));
  TRY(CheckNetworks(client, spec, out));
  for (const MountSpec& mount : spec.mounts) {
    if (mount.kind == MountKind::kNamedVolume) {
      TRY(CheckVolume(client, mount, options, out));
    } else if (mount.kind == MountKind::kBind) {
      CheckBind(mount, options, out);
    }
  }
  return out;
}

}  // namespace migrate
