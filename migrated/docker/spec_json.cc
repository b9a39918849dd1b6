// ContainerSpec <-> its JSON document. A new field is one line in each direction; a field whose
// absence a reader must not overlook is a new version.

#include "migrated/docker/container_spec.h"
#include "migrated/docker/json_util.h"

namespace migrate {

namespace {

Json EngineToJson(const EngineInfo& engine) {
  return {{"ApiVersion", engine.api_version},
          {"ServerVersion", engine.server_version},
          {"RootDir", engine.root_dir},
          {"StorageDriver", engine.storage_driver},
          {"CgroupVersion", engine.cgroup_version},
          {"CgroupDriver", engine.cgroup_driver},
          {"Architecture", engine.architecture},
          {"OSType", engine.os_type},
          {"LoggingDriver", engine.logging_driver},
          {"InitCommit", engine.init_commit},
          {"SecurityOptions", engine.security_options}};
}

EngineInfo EngineFromJson(const Json& json) {
  EngineInfo engine;
  engine.api_version = JsonString(json, "ApiVersion");
  engine.server_version = JsonString(json, "ServerVersion");
  engine.root_dir = JsonString(json, "RootDir");
  engine.storage_driver = JsonString(json, "StorageDriver");
  engine.cgroup_version = JsonString(json, "CgroupVersion");
  engine.cgroup_driver = JsonString(json, "CgroupDriver");
  engine.architecture = JsonString(json, "Architecture");
  engine.os_type = JsonString(json, "OSType");
  engine.logging_driver = JsonString(json, "LoggingDriver");
  engine.init_commit = JsonString(json, "InitCommit");
  engine.security_options = JsonStrings(json, "SecurityOptions");
  return engine;
}

constexpr const char* kMountKinds[] = {"named", "anonymous", "bind", "tmpfs", "other"};
constexpr const char* kPathKinds[] = {"directory", "file", "other", "missing"};

// The enumerator whose name is `text`; the one for "other" if there is none.
template <typename Enum, std::size_t N>
Enum EnumFromText(const char* const (&names)[N], const std::string& text, Enum other) {
  for (std::size_t i = 0; i < N; ++i) {
    if (text == names[i]) {
      return static_cast<Enum>(i);
    }
  }
  return other;
}

Json MountToJson(const MountSpec& mount) {
  return {{"Destination", mount.destination},
          {"Kind", kMountKinds[static_cast<int>(mount.kind)]},
          {"Type", mount.type},
          {"Name", mount.name},
          {"Driver", mount.driver},
          {"Labels", mount.labels},
          {"Options", mount.options},
          {"SourcePath", mount.source_path},
          {"PathKind", kPathKinds[static_cast<int>(mount.path_kind)]},
          {"ReadOnly", mount.read_only},
          {"OtherUsers", mount.other_users}};
}

MountSpec MountFromJson(const Json& json) {
  MountSpec mount;
  mount.destination = JsonString(json, "Destination");
  mount.kind = EnumFromText(kMountKinds, JsonString(json, "Kind"), MountKind::kOther);
  mount.type = JsonString(json, "Type");
  mount.name = JsonString(json, "Name");
  mount.driver = JsonString(json, "Driver");
  mount.labels = JsonStringMap(json, "Labels");
  mount.options = JsonStringMap(json, "Options");
  mount.source_path = JsonString(json, "SourcePath");
  mount.path_kind = EnumFromText(kPathKinds, JsonString(json, "PathKind"), PathKind::kOther);
  mount.read_only = JsonBool(json, "ReadOnly");
  mount.other_users = JsonStrings(json, "OtherUsers");
  return mount;
}

Json NetworkToJson(const NetworkSpec& network) {
  Json subnets = Json::array();
  for (const Subnet& subnet : network.subnets) {
    subnets.push_back(
        {{"Subnet", subnet.subnet}, {"IPRange", subnet.ip_range}, {"Gateway", subnet.gateway}});
  }
  return {{"Name", network.name},
          {"UserDefined", network.user_defined},
          {"Driver", network.driver},
          {"Scope", network.scope},
          {"Subnets", subnets},
          {"Definition", Json::parse(network.definition_json, nullptr, false)},
          {"IPv4", network.ipv4},
          {"IPv6", network.ipv6},
          {"Mac", network.mac},
          {"Aliases", network.aliases},
          {"Links", network.links},
          {"Endpoint", Json::parse(network.endpoint_json, nullptr, false)}};
}

NetworkSpec NetworkFromJson(const Json& json) {
  NetworkSpec network;
  network.name = JsonString(json, "Name");
  network.user_defined = JsonBool(json, "UserDefined");
  network.driver = JsonString(json, "Driver");
  network.scope = JsonString(json, "Scope");
  for (const Json& subnet : JsonAt(json, "Subnets")) {
    network.subnets.push_back({JsonString(subnet, "Subnet"), JsonString(subnet, "IPRange"),
                               JsonString(subnet, "Gateway")});
  }
  network.definition_json = DumpJson(JsonAt(json, "Definition"));
  network.ipv4 = JsonString(json, "IPv4");
  network.ipv6 = JsonString(json, "IPv6");
  network.mac = JsonString(json, "Mac");
  network.aliases = JsonStrings(json, "Aliases");
  network.links = JsonStrings(json, "Links");
  network.endpoint_json = DumpJson(JsonAt(json, "Endpoint"));
  return network;
}

Json PortToJson(const PortSpec& port) {
  return {{"ContainerPort", port.port.container_port},
          {"HostIp", port.port.host_ip},
          {"HostPort", port.port.host_port},
          {"ChosenByEngine", port.chosen_by_engine}};
}

}  // namespace

std::string SpecToJson(const ContainerSpec& spec) {
  Json json;
  json["SpecVersion"] = spec.version;
  json["SourceId"] = spec.source_id;
  json["Name"] = spec.name;
  json["State"] = spec.state;
  json["Paused"] = spec.paused;
  json["Restarting"] = spec.restarting;
  json["Dead"] = spec.dead;
  json["ImageId"] = spec.image_id;
  json["ImageName"] = spec.image_name;
  json["ImageDiffIds"] = spec.image_diff_ids;
  json["ImageBytes"] = spec.image_bytes;
  json["RestartPolicy"] = {{"Name", spec.final_restart_policy.name},
                           {"MaximumRetryCount", spec.final_restart_policy.maximum_retry_count}};
  json["AutoRemove"] = spec.auto_remove;
  json["Runtime"] = spec.runtime;
  json["LogDriver"] = spec.log_driver;
  json["StorageDriver"] = spec.storage_driver;
  json["Engine"] = EngineToJson(spec.engine);
  json["Mounts"] = Json::array();
  for (const MountSpec& mount : spec.mounts) {
    json["Mounts"].push_back(MountToJson(mount));
  }
  json["Networks"] = Json::array();
  for (const NetworkSpec& network : spec.networks) {
    json["Networks"].push_back(NetworkToJson(network));
  }
  json["Ports"] = Json::array();
  for (const PortSpec& port : spec.ports) {
    json["Ports"].push_back(PortToJson(port));
  }
  json["Config"] = Json::parse(spec.config_json, nullptr, false);
  json["HostConfig"] = Json::parse(spec.host_config_json, nullptr, false);
  return DumpJson(json);
}

Result<ContainerSpec> SpecFromJson(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!JsonAt(json, "Config").is_object() || !JsonAt(json, "HostConfig").is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "not a container description");
  }
  ContainerSpec spec;
  spec.version = static_cast<int>(JsonInt(json, "SpecVersion"));
  if (spec.version != kContainerSpecVersion) {
    return MakeError(ErrorCode::kVersionMismatch,
                     "container description of version " + std::to_string(spec.version) +
                         ", this daemon reads " + std::to_string(kContainerSpecVersion));
  }
  spec.source_id = JsonString(json, "SourceId");
  spec.name = JsonString(json, "Name");
  spec.state = JsonString(json, "State");
  spec.paused = JsonBool(json, "Paused");
  spec.restarting = JsonBool(json, "Restarting");
  spec.dead = JsonBool(json, "Dead");
  spec.image_id = JsonString(json, "ImageId");
  spec.image_name = JsonString(json, "ImageName");
  spec.image_diff_ids = JsonStrings(json, "ImageDiffIds");
  spec.image_bytes = JsonInt(json, "ImageBytes");
  const Json& policy = JsonAt(json, "RestartPolicy");
  spec.final_restart_policy = {JsonString(policy, "Name"),
                               static_cast<int>(JsonInt(policy, "MaximumRetryCount"))};
  spec.auto_remove = JsonBool(json, "AutoRemove");
  spec.runtime = JsonString(json, "Runtime");
  spec.log_driver = JsonString(json, "LogDriver");
  spec.storage_driver = JsonString(json, "StorageDriver");
  spec.engine = EngineFromJson(JsonAt(json, "Engine"));
  for (const Json& mount : JsonAt(json, "Mounts")) {
    spec.mounts.push_back(MountFromJson(mount));
  }
  for (const Json& network : JsonAt(json, "Networks")) {
    spec.networks.push_back(NetworkFromJson(network));
  }
  for (const Json& port : JsonAt(json, "Ports")) {
    spec.ports.push_back({{JsonString(port, "ContainerPort"), JsonString(port, "HostIp"),
                           static_cast<int>(JsonInt(port, "HostPort"))},
                          JsonBool(port, "ChosenByEngine")});
  }
  spec.config_json = DumpJson(JsonAt(json, "Config"));
  spec.host_config_json = DumpJson(JsonAt(json, "HostConfig"));
  return spec;
}

}  // namespace migrate
