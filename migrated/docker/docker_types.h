// The objects of the Docker Engine, as far as we use them: plain values parsed from its JSON.
// What we do not use stays in the raw text, so that newer fields survive being passed on.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace migrate {

using StringMap = std::map<std::string, std::string>;

struct EngineInfo {
  std::string api_version;  // the one that we speak with it
  std::string server_version;
  std::string root_dir;
  std::string storage_driver;
  std::string cgroup_version;  // "1" or "2"
  std::string cgroup_driver;
  std::string architecture;  // as uname -m
  std::string os_type;
  std::string logging_driver;
  std::string init_commit;  // of docker-init
  std::vector<std::string> runtimes;
  std::vector<std::string> log_drivers;
  std::vector<std::string> security_options;  // e.g. "name=seccomp,profile=default"
};

struct RestartPolicy {
  std::string name = "no";
  int maximum_retry_count = 0;
  bool operator==(const RestartPolicy&) const = default;
};

struct PublishedPort {
  std::string container_port;  // "80/tcp"
  std::string host_ip;         // "" or "0.0.0.0": every address
  int host_port = 0;
  bool operator==(const PublishedPort&) const = default;
};

struct MountPoint {
  std::string type;  // "volume", "bind", "tmpfs", ...
  std::string name;  // of the volume
  std::string source;
  std::string destination;
  std::string driver;
  bool read_write = true;
};

struct Endpoint {
  std::string network;  // name
  std::string network_id;
  std::string ipv4;
  std::string ipv6;
  std::string mac;
  std::vector<std::string> aliases;
  std::vector<std::string> links;
  std::string raw_json;
};

struct ContainerInfo {
  std::string id;
  std::string name;  // without the slash
  std::string image_id;
  std::string image_name;  // as the user wrote it
  std::string storage_driver;

  std::string status;
  bool running = false;
  bool paused = false;
  bool restarting = false;
  bool dead = false;
  int pid = 0;
  int exit_code = 0;
  std::string error;
  std::string started_at;

  std::string upper_dir;  // overlay2
  std::string work_dir;
  std::string merged_dir;
  std::string lower_dirs;

  std::string log_path;
  std::string log_driver;
  std::string hosts_path;
  std::string hostname_path;
  std::string resolv_conf_path;
  std::string sandbox_key;  // the network namespace

  std::string hostname;
  std::string runtime;
  std::string network_mode;
  std::string cgroup_parent;
  RestartPolicy restart_policy;
  bool auto_remove = false;
  bool tty = false;
  StringMap labels;
  std::vector<std::string> exec_ids;
  std::vector<MountPoint> mounts;
  std::vector<Endpoint> endpoints;
  std::vector<PublishedPort> ports;  // as published now, dynamic ones included

  std::string raw_json;
};

struct ContainerSummary {
  std::string id;
  std::string name;
  std::string state;
  std::string image_id;
  std::vector<PublishedPort> ports;
};

struct ExecInfo {
  std::string id;
  bool running = false;
  int pid = 0;
};

struct Subnet {
  std::string subnet;
  std::string ip_range;
  std::string gateway;
  bool operator==(const Subnet&) const = default;
};

struct NetworkInfo {
  std::string id;
  std::string name;
  std::string driver;
  std::string scope;
  std::vector<Subnet> subnets;
  std::map<std::string, std::string> addresses_in_use;  // address without prefix -> container name
  std::string raw_json;
};

struct VolumeInfo {
  std::string name;
  std::string driver;
  std::string mountpoint;
  StringMap labels;
  StringMap options;
};

struct ImageInfo {
  std::string id;
  std::vector<std::string> tags;
  std::vector<std::string> diff_ids;
  std::string architecture;
  std::string os;
  std::int64_t size = 0;
};

struct ContainerEvent {
  std::string action;  // "die", "start", ...
  std::string container_id;
  std::string name;
  std::int64_t time_ns = 0;
};

// kInternal for text that is not what the engine sends.
Result<ContainerInfo> ParseContainer(const std::string& json);
Result<NetworkInfo> ParseNetwork(const std::string& json);
Result<VolumeInfo> ParseVolume(const std::string& json);
Result<ImageInfo> ParseImage(const std::string& json);
Result<EngineInfo> ParseEngineInfo(const std::string& json);

}  // namespace migrate
