// The portable description of a container: made from the source engine's own answers, sent to the
// target as one versioned JSON document, and turned there into the body of a create call.
//
// Config and HostConfig travel as the engine wrote them, so that options newer than this program
// survive; only what must differ on the target is edited, in CreateBody. A value; no threads.
//
// What differs on purpose in `docker inspect` of the target: the ids, times and paths; Runtime;
// Hostname is explicit; ports that the engine had chosen are fixed to the ones in use; addresses
// and MACs in user-defined networks are requested statically; RestartPolicy is "no" until
// `final_restart_policy` is set after the commit; VolumesFrom has become Binds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/blocker.h"
#include "base/result.h"
#include "migrated/docker/docker_client.h"
#include "migrated/docker/docker_types.h"

namespace migrate {

inline constexpr int kContainerSpecVersion = 1;

enum class MountKind { kNamedVolume, kAnonymousVolume, kBind, kTmpfs, kOther };

// What a bind mount's source path is on the source host; kOther is a socket, device, ...
enum class PathKind { kDirectory, kFile, kOther, kMissing };

struct MountSpec {
  std::string destination;
  MountKind kind = MountKind::kOther;
  std::string type;  // Docker's word
  std::string name;  // of a volume
  std::string driver;
  StringMap labels;
  StringMap options;
  std::string source_path;  // on the source host
  PathKind path_kind = PathKind::kDirectory;
  bool read_only = false;
  std::vector<std::string> other_users;  // names of other running containers with this volume
};

struct NetworkSpec {
  std::string name;
  bool user_defined = false;  // not bridge, host, none
  std::string driver;
  std::string scope;
  std::vector<Subnet> subnets;
  std::string definition_json;  // the body of POST /networks/create
  // This container's place in it.
  std::string ipv4;
  std::string ipv6;
  std::string mac;
  std::vector<std::string> aliases;
  std::vector<std::string> links;
  std::string endpoint_json;  // as inspected
};

struct PortSpec {
  PublishedPort port;
  bool chosen_by_engine = false;
};

struct ContainerSpec {
  int version = kContainerSpecVersion;
  std::string source_id;
  std::string name;
  std::string state;  // as in `docker ps`: only "running" can move
  bool paused = false;
  bool restarting = false;
  bool dead = false;
  std::string image_id;
  std::string image_name;
  std::vector<std::string> image_diff_ids;
  std::int64_t image_bytes = 0;
  std::string config_json;
  std::string host_config_json;
  RestartPolicy final_restart_policy;
  bool auto_remove = false;
  std::string runtime;
  std::string log_driver;
  std::string storage_driver;
  std::vector<MountSpec> mounts;
  std::vector<NetworkSpec> networks;
  std::vector<PortSpec> ports;
  EngineInfo engine;  // of the source
};

// Reads everything from the engine (and what bind mounts are from the file system). An error means
// that the engine failed; what cannot move is not an error here but a blocker, see preflight.h.
Result<ContainerSpec> BuildSpec(DockerClient& client, const std::string& id_or_name);

std::string SpecToJson(const ContainerSpec& spec);
// kVersionMismatch for a document of another version, kInvalidArgument for another text.
Result<ContainerSpec> SpecFromJson(const std::string& text);

struct CreateOptions {
  std::string runtime_name = "migrate";
  std::string image;  // name or id that the target resolves to the spec's image
  VersionNumber api_version;
};

struct NetworkConnect {
  std::string network;
  std::string endpoint_json;  // the EndpointConfig
};

struct CreateRequest {
  std::string body;  // of POST /containers/create
  // The networks that create cannot take (an engine with an API before 1.44 takes one): to be
  // connected before the start.
  std::vector<NetworkConnect> connects;
  // The one that create takes, if it is user-defined: as a connect, for verifying it early.
  std::vector<NetworkConnect> primary;
};

Result<CreateRequest> MakeCreateRequest(const ContainerSpec& spec, const CreateOptions& options);

}  // namespace migrate
