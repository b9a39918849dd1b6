#include "migrated/docker/docker_types.h"

#include <cstdlib>

#include "migrated/docker/json_util.h"

namespace migrate {

namespace {

std::vector<PublishedPort> ParsePorts(const Json& ports) {
  std::vector<PublishedPort> result;
  if (!ports.is_object()) {
    return result;
  }
  for (const auto& item : ports.items()) {
    for (const Json& binding : item.value()) {
      const int port = std::atoi(JsonString(binding, "HostPort").c_str());
      if (port > 0) {
        result.push_back({item.key(), JsonString(binding, "HostIp"), port});
      }
    }
  }
  return result;
}

void ParseState(const Json& state, ContainerInfo& info) {
  info.status = JsonString(state, "Status");
  info.running = JsonBool(state, "Running");
  info.paused = JsonBool(state, "Paused");
  info.restarting = JsonBool(state, "Restarting");
  info.dead = JsonBool(state, "Dead");
  info.pid = static_cast<int>(JsonInt(state, "Pid"));
  info.exit_code = static_cast<int>(JsonInt(state, "ExitCode"));
  info.error = JsonString(state, "Error");
  info.started_at = JsonString(state, "StartedAt");
}

void ParseEndpoints(const Json& networks, ContainerInfo& info) {
  if (!networks.is_object()) {
    return;
  }
  for (const auto& item : networks.items()) {
    const Json& value = item.value();
    Endpoint endpoint;
    endpoint.network = item.key();
    endpoint.network_id = JsonString(value, "NetworkID");
    endpoint.ipv4 = JsonString(value, "IPAddress");
    endpoint.ipv6 = JsonString(value, "GlobalIPv6Address");
    endpoint.mac = JsonString(value, "MacAddress");
    endpoint.aliases = JsonStrings(value, "Aliases");
    endpoint.links = JsonStrings(value, "Links");
    endpoint.raw_json = DumpJson(value);
    info.endpoints.push_back(std::move(endpoint));
  }
}

void ParseMounts(const Json& mounts, ContainerInfo& info) {
  for (const Json& value : mounts) {
    MountPoint mount;
    mount.type = JsonString(value, "Type");
    mount.name = JsonString(value, "Name");
    mount.source = JsonString(value, "Source");
    mount.destination = JsonString(value, "Destination");
    mount.driver = JsonString(value, "Driver");
    mount.read_write = JsonBool(value, "RW");
    info.mounts.push_back(std::move(mount));
  }
}

void ParseHostConfig(const Json& host, ContainerInfo& info) {
  info.runtime = JsonString(host, "Runtime");
  info.network_mode = JsonString(host, "NetworkMode");
  info.cgroup_parent = JsonString(host, "CgroupParent");
  info.auto_remove = JsonBool(host, "AutoRemove");
  info.log_driver = JsonString(JsonAt(host, "LogConfig"), "Type");
  const Json& policy = JsonAt(host, "RestartPolicy");
  info.restart_policy.name = JsonString(policy, "Name");
  if (info.restart_policy.name.empty()) {
    info.restart_policy.name = "no";
  }
  info.restart_policy.maximum_retry_count = static_cast<int>(JsonInt(policy, "MaximumRetryCount"));
}

}  // namespace

Result<ContainerInfo> ParseContainer(const std::string& text) {
  const Json json = TRY(ParseJsonObject(text, "container inspect"));
  ContainerInfo info;
  info.id = JsonString(json, "Id");
  info.name = JsonString(json, "Name");
  if (!info.name.empty() && info.name[0] == '/') {
    info.name.erase(0, 1);
  }
  info.image_id = JsonString(json, "Image");
  info.storage_driver = JsonString(json, "Driver");
  ParseState(JsonAt(json, "State"), info);
  const Json& graph = JsonAt(JsonAt(json, "GraphDriver"), "Data");
  info.upper_dir = JsonString(graph, "UpperDir");
  info.work_dir = JsonString(graph, "WorkDir");
  info.merged_dir = JsonString(graph, "MergedDir");
  info.lower_dirs = JsonString(graph, "LowerDir");
  info.log_path = JsonString(json, "LogPath");
  info.hosts_path = JsonString(json, "HostsPath");
  info.hostname_path = JsonString(json, "HostnamePath");
  info.resolv_conf_path = JsonString(json, "ResolvConfPath");
  info.exec_ids = JsonStrings(json, "ExecIDs");
  const Json& config = JsonAt(json, "Config");
  info.image_name = JsonString(config, "Image");
  info.hostname = JsonString(config, "Hostname");
  info.tty = JsonBool(config, "Tty");
  info.labels = JsonStringMap(config, "Labels");
  ParseHostConfig(JsonAt(json, "HostConfig"), info);
  ParseMounts(JsonAt(json, "Mounts"), info);
  const Json& network = JsonAt(json, "NetworkSettings");
  info.sandbox_key = JsonString(network, "SandboxKey");
  info.ports = ParsePorts(JsonAt(network, "Ports"));
  ParseEndpoints(JsonAt(network, "Networks"), info);
  info.raw_json = text;
  if (info.id.empty()) {
    return MakeError(ErrorCode::kInternal, "container inspect: no Id");
  }
  return info;
}

Result<NetworkInfo> ParseNetwork(const std::string& text) {
  const Json json = TRY(ParseJsonObject(text, "network inspect"));
  NetworkInfo info;
  info.id = JsonString(json, "Id");
  info.name = JsonString(json, "Name");
  info.driver = JsonString(json, "Driver");
  info.scope = JsonString(json, "Scope");
  for (const Json& range : JsonAt(JsonAt(json, "IPAM"), "Config")) {
    info.subnets.push_back(
        {JsonString(range, "Subnet"), JsonString(range, "IPRange"), JsonString(range, "Gateway")});
  }
  for (const Json& container : JsonAt(json, "Containers")) {
    for (const char* key : {"IPv4Address", "IPv6Address"}) {
      std::string address = JsonString(container, key);
      address = address.substr(0, address.find('/'));
      if (!address.empty()) {
        info.addresses_in_use[address] = JsonString(container, "Name");
      }
    }
  }
  info.raw_json = text;
  return info;
}

Result<VolumeInfo> ParseVolume(const std::string& text) {
  const Json json = TRY(ParseJsonObject(text, "volume inspect"));
  return VolumeInfo{JsonString(json, "Name"), JsonString(json, "Driver"),
                    JsonString(json, "Mountpoint"), JsonStringMap(json, "Labels"),
                    JsonStringMap(json, "Options")};
}

Result<ImageInfo> ParseImage(const std::string& text) {
  const Json json = TRY(ParseJsonObject(text, "image inspect"));
  ImageInfo info;
  info.id = JsonString(json, "Id");
  info.tags = JsonStrings(json, "RepoTags");
  info.diff_ids = JsonStrings(JsonAt(json, "RootFS"), "Layers");
  info.architecture = JsonString(json, "Architecture");
  info.os = JsonString(json, "Os");
  info.size = JsonInt(json, "Size");
  return info;
}

Result<EngineInfo> ParseEngineInfo(const std::string& text) {
  const Json json = TRY(ParseJsonObject(text, "engine info"));
  EngineInfo info;
  info.server_version = JsonString(json, "ServerVersion");
  info.root_dir = JsonString(json, "DockerRootDir");
  info.storage_driver = JsonString(json, "Driver");
  info.cgroup_version = JsonString(json, "CgroupVersion");
  if (info.cgroup_version.empty()) {
    info.cgroup_version = "1";  // engines before 20.10 know no other
  }
  info.cgroup_driver = JsonString(json, "CgroupDriver");
  info.architecture = JsonString(json, "Architecture");
  info.os_type = JsonString(json, "OSType");
  info.logging_driver = JsonString(json, "LoggingDriver");
  info.init_commit = JsonString(JsonAt(json, "InitCommit"), "ID");
  info.log_drivers = JsonStrings(JsonAt(json, "Plugins"), "Log");
  info.security_options = JsonStrings(json, "SecurityOptions");
  const Json& runtimes = JsonAt(json, "Runtimes");
  if (runtimes.is_object()) {
    for (const auto& item : runtimes.items()) {
      info.runtimes.push_back(item.key());
    }
  }
  return info;
}

}  // namespace migrate
