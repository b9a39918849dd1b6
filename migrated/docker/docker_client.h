// The part of the Docker Engine API that we use, over its unix socket.
//
// Owns nothing but the path: one connection per call, any thread, every call blocks with a limit
// (limits.h). Failure: the engine's own words, with the HTTP status as code: 404 kNotFound, 409
// kAborted (a name in use: kAlreadyExists), 400 kInvalidArgument, 5xx kInternal; an engine that is
// not there is kUnavailable. 304 (already so) is success.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "migrated/docker/docker_types.h"
#include "migrated/ship/byte_stream.h"

namespace migrate {

struct HttpRequest;
struct HttpResponse;

struct VersionNumber {
  int major = 0;
  int minor = 0;
  auto operator<=>(const VersionNumber&) const = default;
};
VersionNumber ParseVersionNumber(std::string_view text);  // {0, 0} if it is none

class DockerClient {
 public:
  explicit DockerClient(std::string socket_path);
  ~DockerClient();

  const std::string& socket_path() const { return socket_path_; }

  // The API version that we speak with this engine: the lower of what both know.
  // kVersionMismatch if that is too old.
  Result<VersionNumber> ApiVersion();
  Result<> Ping();
  Result<EngineInfo> Info();

  // `filters`: e.g. {{"volume", "data"}}.
  Result<std::vector<ContainerSummary>> ListContainers(bool all, const StringMap& filters = {});
  Result<ContainerInfo> InspectContainer(const std::string& id_or_name);
  // Returns the id.
  Result<std::string> CreateContainer(const std::string& name, const std::string& json);
  Result<> StartContainer(const std::string& id,
                          std::chrono::milliseconds timeout = limits::kDockerTimeout);
  Result<> StopContainer(const std::string& id, std::chrono::seconds grace);
  Result<> KillContainer(const std::string& id, const std::string& signal);
  Result<> RemoveContainer(const std::string& id, bool force, bool volumes);
  Result<> RenameContainer(const std::string& id, const std::string& name);
  Result<> UpdateRestartPolicy(const std::string& id, const RestartPolicy& policy);
  // Blocks until the container does not run; returns its exit code.
  Result<int> WaitContainer(const std::string& id, std::chrono::milliseconds timeout);
  Result<std::vector<ExecInfo>> ListExecs(const std::string& id);

  Result<std::vector<NetworkInfo>> ListNetworks();
  Result<NetworkInfo> InspectNetwork(const std::string& id_or_name);
  Result<std::string> CreateNetwork(const std::string& json);
  Result<> RemoveNetwork(const std::string& id_or_name);
  Result<> ConnectNetwork(const std::string& network, const std::string& json);
  Result<> DisconnectNetwork(const std::string& network, const std::string& container);

  Result<std::vector<VolumeInfo>> ListVolumes();
  Result<VolumeInfo> InspectVolume(const std::string& name);
  Result<VolumeInfo> CreateVolume(const std::string& json);
  Result<> RemoveVolume(const std::string& name);

  Result<ImageInfo> InspectImage(const std::string& id_or_name);
  Result<std::vector<ImageInfo>> ListImages();  // with their layers: one inspect each
  Result<> TagImage(const std::string& id, const std::string& repository, const std::string& tag);
  // Never by force: an image in use stays, kAborted.
  Result<> RemoveImage(const std::string& id_or_name);

  // The archive of `docker save`, pulled piece by piece; dropping the source ends the transfer.
  Result<std::unique_ptr<ByteSource>> OpenImageArchive(const std::string& id);
  Result<> SaveImage(const std::string& id, ByteSink& sink);  // does not Finish() the sink
  Result<> LoadImage(ByteSource& source);

  // Calls back for each event of a container until `stop` is requested (then returns without an
  // error) or the engine goes away. An empty id means all containers.
  Result<> WatchContainers(const std::string& id, std::stop_token stop,
                           const std::function<void(const ContainerEvent&)>& callback);

 private:
  Result<std::string> Path(std::string_view rest);
  Result<HttpResponse> Call(std::string_view method, std::string_view path, std::string body,
                            std::chrono::milliseconds timeout = limits::kDockerTimeout);
  Result<std::string> Get(std::string_view path);
  Result<> Do(std::string_view method, std::string_view path, std::string body = {},
              std::chrono::milliseconds timeout = limits::kDockerTimeout);

  const std::string socket_path_;
  std::mutex mutex_;
  VersionNumber api_version_;  // guarded by mutex_; {0, 0} until the first call
};

// Part of a path or query: everything but unreserved characters is %-encoded.
std::string UrlEncode(std::string_view text);

}  // namespace migrate
