#include "migrated/docker/container_spec.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "migrated/docker/json_util.h"

namespace migrate {

namespace {

bool IsPredefinedNetwork(const std::string& name) {
  return name == "bridge" || name == "host" || name == "none" || name == "default";
}

PathKind ClassifyPath(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return PathKind::kMissing;
  }
  if (S_ISDIR(status.st_mode)) {
    return PathKind::kDirectory;
  }
  return S_ISREG(status.st_mode) ? PathKind::kFile : PathKind::kOther;
}

// The volume names that the user wrote down; any other volume of the container is anonymous.
std::set<std::string> WrittenVolumeNames(const Json& host_config) {
  std::set<std::string> names;
  for (const std::string& bind : JsonStrings(host_config, "Binds")) {
    names.insert(bind.substr(0, bind.find(':')));
  }
  for (const Json& mount : JsonAt(host_config, "Mounts")) {
    names.insert(JsonString(mount, "Source"));
  }
  return names;
}

Result<> AddVolumeDetails(DockerClient& client, const std::string& own_id, MountSpec& mount) {
  const VolumeInfo volume = TRY(client.InspectVolume(mount.name));
  mount.labels = volume.labels;
  mount.options = volume.options;
  const auto users = TRY(client.ListContainers(/*all=*/false, {{"volume", mount.name}}));
  for (const ContainerSummary& user : users) {
    if (user.id != own_id) {
      mount.other_users.push_back(user.name);
    }
  }
  return {};
}

Result<std::vector<MountSpec>> BuildMounts(DockerClient& client, const ContainerInfo& info,
                                           const Json& host_config) {
  const auto written = WrittenVolumeNames(host_config);
  // Volumes of --volumes-from have names that this container's own options do not tell.
  const bool borrows = !JsonEmpty(host_config, "VolumesFrom");
  std::vector<MountSpec> mounts;
  for (const MountPoint& point : info.mounts) {
    MountSpec mount;
    mount.destination = point.destination;
    mount.type = point.type;
    mount.name = point.name;
    mount.driver = point.driver;
    mount.source_path = point.source;
    mount.read_only = !point.read_write;
    if (point.type == "volume") {
      const bool named = borrows || written.count(point.name) > 0;
      mount.kind = named ? MountKind::kNamedVolume : MountKind::kAnonymousVolume;
      TRY(AddVolumeDetails(client, info.id, mount));
    } else if (point.type == "bind") {
      mount.kind = MountKind::kBind;
      mount.path_kind = ClassifyPath(point.source);
    } else if (point.type == "tmpfs") {
      mount.kind = MountKind::kTmpfs;
    }
    mounts.push_back(std::move(mount));
  }
  // --tmpfs is not among the mounts of inspect.
  const StringMap tmpfs_options = JsonStringMap(host_config, "Tmpfs");
  for (const auto& [destination, options] : tmpfs_options) {
    MountSpec mount;
    mount.destination = destination;
    mount.kind = MountKind::kTmpfs;
    mount.type = "tmpfs";
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

std::string NetworkDefinition(const std::string& inspected, const std::string& name) {
  const Json network = Json::parse(inspected, nullptr, false);
  Json body;
  body["Name"] = name;
  body["CheckDuplicate"] = true;
  for (const char* key : {"Driver", "EnableIPv4", "EnableIPv6", "IPAM", "Internal", "Attachable",
                          "Options", "Labels"}) {
    if (!JsonAt(network, key).is_null()) {
      body[key] = network[key];
    }
  }
  return DumpJson(body);
}

Result<NetworkSpec> BuildNetwork(DockerClient& client, const ContainerInfo& info,
                                 const Endpoint& endpoint) {
  NetworkSpec spec;
  spec.name = endpoint.network;
  spec.user_defined = !IsPredefinedNetwork(endpoint.network);
  spec.ipv4 = endpoint.ipv4;
  spec.ipv6 = endpoint.ipv6;
  spec.mac = endpoint.mac;
  spec.links = endpoint.links;
  spec.endpoint_json = endpoint.raw_json;
  for (const std::string& alias : endpoint.aliases) {
    // The engine adds the short id by itself, the new one at the target.
    if (alias != info.id.substr(0, 12)) {
      spec.aliases.push_back(alias);
    }
  }
  const std::string& key = endpoint.network_id.empty() ? endpoint.network : endpoint.network_id;
  const NetworkInfo network = TRY(client.InspectNetwork(key));
  spec.driver = network.driver;
  spec.scope = network.scope;
  spec.subnets = network.subnets;
  spec.definition_json = NetworkDefinition(network.raw_json, endpoint.network);
  return spec;
}

// A port is the engine's choice if none of the bindings asked for it.
std::vector<PortSpec> BuildPorts(const ContainerInfo& info, const Json& host_config) {
  std::vector<PortSpec> ports;
  const Json& asked = JsonAt(host_config, "PortBindings");
  for (const PublishedPort& port : info.ports) {
    bool found = false;
    for (const Json& binding : JsonAt(asked, port.container_port)) {
      found = found || JsonString(binding, "HostPort") == std::to_string(port.host_port);
    }
    ports.push_back({port, !found});
  }
  return ports;
}

}  // namespace

Result<ContainerSpec> BuildSpec(DockerClient& client, const std::string& id_or_name) {
  const ContainerInfo info = TRY(client.InspectContainer(id_or_name));
  const Json raw = TRY(ParseJsonObject(info.raw_json, "container inspect"));
  const Json& host_config = JsonAt(raw, "HostConfig");
  ContainerSpec spec;
  spec.source_id = info.id;
  spec.name = info.name;
  spec.state = info.status;
  spec.paused = info.paused;
  spec.restarting = info.restarting;
  spec.dead = info.dead;
  spec.image_id = info.image_id;
  spec.image_name = info.image_name;
  spec.config_json = DumpJson(JsonAt(raw, "Config"));
  spec.host_config_json = DumpJson(host_config);
  spec.final_restart_policy = info.restart_policy;
  spec.auto_remove = info.auto_remove;
  spec.runtime = info.runtime;
  spec.log_driver = info.log_driver;
  spec.storage_driver = info.storage_driver;
  spec.ports = BuildPorts(info, host_config);
  spec.engine = TRY(client.Info());
  const ImageInfo image = TRY(client.InspectImage(info.image_id));
  spec.image_diff_ids = image.diff_ids;
  spec.image_bytes = image.size;
  spec.mounts = TRY(BuildMounts(client, info, host_config));
  for (const Endpoint& endpoint : info.endpoints) {
    spec.networks.push_back(TRY(BuildNetwork(client, info, endpoint)));
  }
  return spec;
}

}  // namespace migrate
