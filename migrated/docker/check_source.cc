#include <string_view>

#include "migrated/docker/json_util.h"
#include "migrated/docker/preflight.h"

namespace migrate {

namespace {

using Blockers = std::vector<Blocker>;

bool IsHostOrContainer(const std::string& mode) {
  return mode == "host" || mode.starts_with("container:");
}

void CheckState(const ContainerSpec& spec, Blockers& out) {
  if (spec.paused) {
    out.push_back(
        {"CONTAINER_PAUSED", spec.name, "the container is paused", "docker unpause " + spec.name});
  } else if (spec.restarting || spec.dead || spec.state != "running") {
    out.push_back({"CONTAINER_NOT_RUNNING", spec.name, "the container is " + spec.state,
                   "only a running container has a state to move; start it first"});
  }
}

void CheckEngine(const ContainerSpec& spec, const SourceCheckOptions& options, Blockers& out) {
  if (spec.storage_driver != "overlay2") {
    out.push_back({"STORAGE_DRIVER", spec.storage_driver,
                   "the container's files are in the storage driver " + spec.storage_driver,
                   "only overlay2 is supported"});
  }
  for (const std::string& option : spec.engine.security_options) {
    if (option.starts_with("name=userns") || option.starts_with("name=rootless")) {
      out.push_back({"USER_NAMESPACE", option.substr(5),
                     "the engine runs containers in a user namespace", "not supported"});
    }
  }
  const std::string& runtime = spec.runtime;
  if (!runtime.empty() && runtime != "runc" && runtime != "io.containerd.runc.v2" &&
      runtime != options.runtime_name) {
    out.push_back({"RUNTIME", runtime, "the container runs under the OCI runtime " + runtime,
                   "only runc can be checkpointed"});
  }
}

void CheckNamespaces(const ContainerSpec& spec, const Json& host, Blockers& out) {
  const std::string network = JsonString(host, "NetworkMode");
  if (network == "host") {
    out.push_back({"NETWORK_HOST", spec.name, "the container uses the network of the host",
                   "recreate it with a network of its own and published ports"});
  } else if (network.starts_with("container:")) {
    out.push_back({"NETWORK_CONTAINER", network,
                   "the container shares the network of another container",
                   "recreate it with a network of its own"});
  }
  struct Mode {
    const char* key;
    const char* code;
    const char* what;
  };
  for (const Mode& mode :
       {Mode{"PidMode", "PID_NAMESPACE", "processes"}, Mode{"IpcMode", "IPC_NAMESPACE", "IPC"},
        Mode{"UTSMode", "UTS_NAMESPACE", "host name"}}) {
    const std::string value = JsonString(host, mode.key);
    if (IsHostOrContainer(value)) {
      out.push_back(
          {mode.code, value,
           std::string("the namespace of its ") + mode.what + " is shared (" + value + ")",
           "recreate it without this option"});
    }
  }
  const std::string users = JsonString(host, "UsernsMode");
  if (!users.empty() && users != "host") {
    out.push_back({"USER_NAMESPACE", users, "the container asks for a user namespace",
                   "recreate it without this option"});
  }
}

void CheckDevices(const ContainerSpec& spec, const Json& host, Blockers& out) {
  if (JsonBool(host, "Privileged")) {
    out.push_back({"DEVICES", spec.name, "a privileged container has all devices of its host",
                   "recreate it with the capabilities that it needs (--cap-add)"});
  }
  for (const Json& device : JsonAt(host, "Devices")) {
    const std::string path = JsonString(device, "PathOnHost");
    out.push_back({"DEVICES", path, "the container has the device " + path + " of its host",
                   "recreate it without --device"});
  }
  for (const Json& request : JsonAt(host, "DeviceRequests")) {
    std::string driver = JsonString(request, "Driver");
    driver = driver.empty() ? "gpu" : driver;
    out.push_back({"DEVICES", driver, "the container uses a GPU or another requested device",
                   "the state of such devices cannot be moved"});
  }
}

void CheckVolume(const MountSpec& mount, Blockers& out) {
  if (mount.driver != "local") {
    out.push_back({"VOLUME_DRIVER", mount.name,
                   "the volume at " + mount.destination + " is of the driver " + mount.driver,
                   "only volumes of the driver local can be copied"});
  } else if (mount.options.count("type") > 0 || mount.options.count("device") > 0) {
    out.push_back({"VOLUME_DRIVER", mount.name,
                   "the volume at " + mount.destination + " is a mount of its own (type or device)",
                   "only volumes that are plain directories can be copied"});
  }
  for (const std::string& user : mount.other_users) {
    out.push_back({"VOLUME_SHARED", mount.name,
                   "the volume at " + mount.destination + " is also used by container " + user,
                   "stop " + user + " or give it a volume of its own"});
  }
}

void CheckBind(const MountSpec& mount, BindMountPolicy policy, Blockers& out) {
  if (policy == BindMountPolicy::kRefuse) {
    out.push_back({"BIND_MOUNT", mount.source_path,
                   "a directory of the host is mounted at " + mount.destination,
                   "use a volume, or --bind-mounts=existing or copy"});
  } else if (policy == BindMountPolicy::kCopy && mount.path_kind != PathKind::kDirectory &&
             mount.path_kind != PathKind::kFile) {
    out.push_back({"BIND_MOUNT", mount.source_path,
                   "what is mounted at " + mount.destination + " is no file or directory",
                   "a socket or device of the host cannot be copied; use --bind-mounts=existing"});
  }
}

void CheckMounts(const ContainerSpec& spec, const SourceCheckOptions& options, Blockers& out) {
  for (const MountSpec& mount : spec.mounts) {
    switch (mount.kind) {
      case MountKind::kNamedVolume:
      case MountKind::kAnonymousVolume:
        CheckVolume(mount, out);
        break;
      case MountKind::kBind:
        CheckBind(mount, options.bind_mounts, out);
        break;
      case MountKind::kTmpfs:
        break;  // part of the checkpoint
      case MountKind::kOther:
        out.push_back({"MOUNT_TYPE", mount.destination,
                       "a mount of type " + mount.type + " is not supported",
                       "recreate the container with a volume"});
    }
  }
}

void CheckNetworks(const ContainerSpec& spec, const Json& host, Blockers& out) {
  if (!JsonEmpty(host, "Links")) {
    out.push_back({"LINKS", spec.name, "the container is linked to others (--link)",
                   "use a user-defined network, where containers find each other by name"});
  }
  for (const NetworkSpec& network : spec.networks) {
    if (!network.links.empty()) {
      out.push_back({"LINKS", network.name,
                     "the container is linked to others in network " + network.name,
                     "use aliases instead of links"});
    }
    if (network.name == "host" || network.name == "none") {
      continue;
    }
    if (network.driver != "bridge" || network.scope != "local") {
      out.push_back({"NETWORK_DRIVER", network.name,
                     "the network is of the driver " + network.driver + " (" + network.scope + ")",
                     "only bridge networks are supported"});
    }
  }
}

void CheckSwarm(const Json& config, Blockers& out) {
  for (const auto& [label, value] : JsonStringMap(config, "Labels")) {
    if (label.starts_with("com.docker.swarm.")) {
      out.push_back(
          {"SWARM", label, "the container is managed by Docker Swarm", "let Swarm move it"});
      return;
    }
  }
}

bool HistoryTravels(const std::string& log_driver) {
  return log_driver == "json-file" || log_driver == "local" || log_driver == "none";
}

}  // namespace

std::vector<Blocker> CheckSource(const ContainerSpec& spec, const SourceCheckOptions& options) {
  const Json host = Json::parse(spec.host_config_json, nullptr, false);
  const Json config = Json::parse(spec.config_json, nullptr, false);
  Blockers out;
  CheckState(spec, out);
  CheckEngine(spec, options, out);
  CheckNamespaces(spec, host, out);
  CheckDevices(spec, host, out);
  CheckMounts(spec, options, out);
  CheckNetworks(spec, host, out);
  CheckSwarm(config, out);
  return out;
}

std::vector<Blocker> NotesOnSource(const ContainerSpec& spec) {
  Blockers out;
  if (spec.auto_remove) {
    out.push_back({"AUTO_REMOVE", spec.name,
                   "--rm is kept: the engine removes the source, with its anonymous volumes, as "
                   "soon as it has been stopped after the move",
                   ""});
  }
  if (!HistoryTravels(spec.log_driver)) {
    out.push_back({"LOG_HISTORY", spec.log_driver,
                   "older output stays where the log driver " + spec.log_driver + " has put it",
                   ""});
  }
  for (const MountSpec& mount : spec.mounts) {
    if (mount.kind == MountKind::kTmpfs) {
      out.push_back({"TMPFS", mount.destination,
                     "its files are part of the memory image and are shipped in the freeze", ""});
    }
  }
  for (const PortSpec& port : spec.ports) {
    if (port.chosen_by_engine) {
      out.push_back({"PORT_FIXED", port.port.container_port,
                     "the engine had chosen port " + std::to_string(port.port.host_port) +
                         "; the target uses the same one from now on",
                     ""});
    }
  }
  return out;
}

}  // namespace migrate
