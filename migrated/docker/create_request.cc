// The edits that turn a source's Config and HostConfig into a create call for the target.

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>
#include <set>

#include "migrated/docker/container_spec.h"
#include "migrated/docker/json_util.h"

namespace migrate {

namespace {

constexpr VersionNumber kSeveralNetworksAtCreate{1, 44};  // and MAC addresses per endpoint

// The address that engines before 28 derive from the IPv4 address: no wish of the user.
std::string DerivedMac(const std::string& ipv4) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (std::sscanf(ipv4.c_str(), "%u.%u.%u.%u", &a, &b, &c, &d) != 4) {
    return {};
  }
  char text[32];
  std::snprintf(text, sizeof text, "02:42:%02x:%02x:%02x:%02x", a & 255, b & 255, c & 255, d & 255);
  return text;
}

void EditEntrypoint(Json& config) {
  // Null means "as the image says". Where the container has none although the image may have one,
  // the engine wants a list with one empty string; it leaves Cmd alone then.
  if (JsonEmpty(config, "Entrypoint")) {
    config["Entrypoint"] = Json::array({""});
  }
}

// "" for every address, which the engine lists twice: as 0.0.0.0 and as ::.
std::string HostAddress(const std::string& host_ip) {
  return host_ip == "0.0.0.0" || host_ip == "::" ? "" : host_ip;
}

bool IsNumber(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

// The bindings of one container port: what the user asked for stays as it was written; a number
// that the engine chose ("" or a range was asked, or all ports) becomes the one in use, since
// clients know it.
Json BindingsOfPort(const Json& asked, const std::vector<PublishedPort>& published) {
  Json bindings = asked.is_array() ? asked : Json::array();
  std::set<std::string> taken;
  for (const Json& binding : bindings) {
    taken.insert(HostAddress(JsonString(binding, "HostIp")) + " " +
                 JsonString(binding, "HostPort"));
  }
  const bool asked_none = bindings.empty();
  for (const PublishedPort& port : published) {
    const std::string address = HostAddress(port.host_ip);
    const std::string number = std::to_string(port.host_port);
    if (!taken.insert(address + " " + number).second) {
      continue;
    }
    if (asked_none) {
      bindings.push_back({{"HostIp", address}, {"HostPort", number}});
      continue;
    }
    for (Json& binding : bindings) {
      if (!IsNumber(JsonString(binding, "HostPort")) &&
          HostAddress(JsonString(binding, "HostIp")) == address) {
        binding["HostPort"] = number;
        break;
      }
    }
  }
  return bindings;
}

Json PortBindings(const ContainerSpec& spec, const Json& asked) {
  std::map<std::string, std::vector<PublishedPort>> published;
  for (const PortSpec& item : spec.ports) {
    published[item.port.container_port].push_back(item.port);
  }
  Json bindings = asked.is_object() ? asked : Json::object();
  for (const auto& [container_port, ports] : published) {
    bindings[container_port] = BindingsOfPort(JsonAt(bindings, container_port), ports);
  }
  return bindings;
}

// --volumes-from names a container of the source host: its mounts become our own.
void ReplaceVolumesFrom(const ContainerSpec& spec, Json& host) {
  if (JsonEmpty(host, "VolumesFrom")) {
    return;
  }
  std::set<std::string> known;
  for (const std::string& bind : JsonStrings(host, "Binds")) {
    const std::size_t begin = bind.find(':') + 1;
    known.insert(bind.substr(begin, bind.find(':', begin) - begin));
  }
  for (const Json& mount : JsonAt(host, "Mounts")) {
    known.insert(JsonString(mount, "Target"));
  }
  if (!JsonAt(host, "Binds").is_array()) {
    host["Binds"] = Json::array();
  }
  for (const MountSpec& mount : spec.mounts) {
    const bool has_source = mount.kind == MountKind::kNamedVolume || mount.kind == MountKind::kBind;
    if (has_source && known.count(mount.destination) == 0) {
      const std::string& source = mount.kind == MountKind::kBind ? mount.source_path : mount.name;
      host["Binds"].push_back(source + ":" + mount.destination + (mount.read_only ? ":ro" : ""));
    }
  }
  host["VolumesFrom"] = nullptr;
}

Json EndpointConfig(const NetworkSpec& network, const Json& config, VersionNumber api) {
  const Json inspected = Json::parse(network.endpoint_json, nullptr, false);
  Json endpoint = Json::object();
  Json ipam = JsonAt(inspected, "IPAMConfig").is_object() ? JsonAt(inspected, "IPAMConfig")
                                                          : Json::object();
  if (network.user_defined && !network.ipv4.empty()) {
    ipam["IPv4Address"] = network.ipv4;
  }
  if (network.user_defined && !network.ipv6.empty()) {
    ipam["IPv6Address"] = network.ipv6;
  }
  if (!ipam.empty()) {
    endpoint["IPAMConfig"] = ipam;
  }
  if (!network.aliases.empty()) {
    endpoint["Aliases"] = network.aliases;
  }
  if (!network.links.empty()) {
    endpoint["Links"] = network.links;
  }
  if (!JsonEmpty(inspected, "DriverOpts")) {
    endpoint["DriverOpts"] = JsonAt(inspected, "DriverOpts");
  }
  if (!JsonEmpty(inspected, "GwPriority")) {
    endpoint["GwPriority"] = JsonAt(inspected, "GwPriority");
  }
  // On the default bridge the address may differ at the target, and a MAC made from an address
  // could collide with another container's there: only one that the user asked for.
  const bool keep_mac = network.user_defined || !JsonEmpty(config, "MacAddress");
  if (api >= kSeveralNetworksAtCreate && keep_mac && !network.mac.empty()) {
    endpoint["MacAddress"] = network.mac;
  }
  return endpoint;
}

// Which network is the container's NetworkMode on the target: nullptr for none.
const NetworkSpec* PrimaryNetwork(const ContainerSpec& spec, const std::string& mode) {
  const std::string name = mode.empty() || mode == "default" ? "bridge" : mode;
  for (const NetworkSpec& network : spec.networks) {
    const Json endpoint = Json::parse(network.endpoint_json, nullptr, false);
    const std::string id = JsonString(endpoint, "NetworkID");
    if (network.name == name || (name.size() >= 12 && id.compare(0, name.size(), name) == 0)) {
      return &network;
    }
  }
  // Disconnected from where it was started: the first one that it is in now.
  return spec.networks.empty() ? nullptr : &spec.networks.front();
}

void EditMac(const NetworkSpec* primary, VersionNumber api, Json& config) {
  if (api >= kSeveralNetworksAtCreate) {
    config.erase("MacAddress");  // deprecated there; the endpoint has it
  } else if (primary != nullptr && primary->user_defined && !primary->mac.empty() &&
             primary->mac != DerivedMac(primary->ipv4)) {
    config["MacAddress"] = primary->mac;
  }
}

void EditHostConfig(const ContainerSpec& spec, const CreateOptions& options, Json& host) {
  host.erase("ContainerIDFile");
  host["Runtime"] = options.runtime_name;
  // A failed restore must not become a cold start: the policy comes after the commit.
  host["RestartPolicy"] = {{"Name", "no"}, {"MaximumRetryCount", 0}};
  host["PortBindings"] = PortBindings(spec, JsonAt(host, "PortBindings"));
  host["PublishAllPorts"] = false;
  ReplaceVolumesFrom(spec, host);
  // Gone or refused in newer engines, and 0 says nothing.
  for (const char* key : {"KernelMemory", "KernelMemoryTCP"}) {
    if (JsonEmpty(host, key)) {
      host.erase(key);
    }
  }
}

}  // namespace

Result<CreateRequest> MakeCreateRequest(const ContainerSpec& spec, const CreateOptions& options) {
  Json body = TRY(ParseJsonObject(spec.config_json, "Config"));
  Json host = TRY(ParseJsonObject(spec.host_config_json, "HostConfig"));
  body["Image"] = options.image.empty() ? spec.image_id : options.image;
  EditEntrypoint(body);
  CreateRequest request;
  Json endpoints = Json::object();
  const NetworkSpec* primary = PrimaryNetwork(spec, JsonString(host, "NetworkMode"));
  if (primary == nullptr) {
    host["NetworkMode"] = "none";
  } else if (primary->user_defined) {
    host["NetworkMode"] = primary->name;
  } else if (primary->name == "bridge" && JsonString(host, "NetworkMode") != "bridge") {
    host["NetworkMode"] = "default";
  }
  for (const NetworkSpec& network : spec.networks) {
    const Json endpoint = EndpointConfig(network, body, options.api_version);
    if (&network == primary) {
      if (!endpoint.empty()) {
        endpoints[network.name] = endpoint;
      }
      if (network.user_defined) {
        request.primary.push_back({network.name, DumpJson(endpoint)});
      }
    } else if (options.api_version >= kSeveralNetworksAtCreate) {
      endpoints[network.name] = endpoint;
    } else {
      request.connects.push_back({network.name, DumpJson(endpoint)});
    }
  }
  EditHostConfig(spec, options, host);
  EditMac(primary, options.api_version, body);
  body["HostConfig"] = std::move(host);
  body["NetworkingConfig"] = {{"EndpointsConfig", endpoints}};
  request.body = DumpJson(body);
  return request;
}

}  // namespace migrate
