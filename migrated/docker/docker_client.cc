#include "migrated/docker/docker_client.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>

#include "migrated/docker/http_unix.h"
#include "migrated/docker/json_util.h"

namespace migrate {

namespace {

// 1.40 is Docker 19.03. Beyond 1.48 (Docker 28) fields may go away that we read.
constexpr VersionNumber kOldestApi{1, 40};
constexpr VersionNumber kNewestApi{1, 48};

std::string ToText(VersionNumber version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

// The engine's error as ours; its body is {"message": "..."}.
Error EngineError(int status, const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  std::string message = JsonString(json, "message");
  if (message.empty()) {
    message = "HTTP status " + std::to_string(status);
  }
  ErrorCode code = ErrorCode::kInternal;
  if (status == 404) {
    code = ErrorCode::kNotFound;
  } else if (status == 409) {
    code = message.find("already in use by container") != std::string::npos ||
                   message.find("already exists") != std::string::npos
               ? ErrorCode::kAlreadyExists
               : ErrorCode::kAborted;
  } else if (status == 400) {
    code = ErrorCode::kInvalidArgument;
  } else if (status == 403) {
    code = ErrorCode::kPermissionDenied;
  } else if (status == 503) {
    code = ErrorCode::kUnavailable;
  }
  return MakeError(code, "docker: " + message);
}

bool Succeeded(int status) { return (status >= 200 && status < 300) || status == 304; }

std::string Filters(const StringMap& filters) {
  Json json = Json::object();
  for (const auto& [key, value] : filters) {
    json[key] = Json::array({value});
  }
  return UrlEncode(DumpJson(json));
}

ContainerSummary ParseSummary(const Json& json) {
  ContainerSummary summary;
  summary.id = JsonString(json, "Id");
  const auto names = JsonStrings(json, "Names");
  for (const std::string& name : names) {
    // Others are "/peer/alias" of links.
    if (name.find('/', 1) == std::string::npos) {
      summary.name = name.substr(std::min<std::size_t>(1, name.size()));
    }
  }
  summary.state = JsonString(json, "State");
  summary.image_id = JsonString(json, "ImageID");
  for (const Json& port : JsonAt(json, "Ports")) {
    if (JsonInt(port, "PublicPort") > 0) {
      summary.ports.push_back(
          {std::to_string(JsonInt(port, "PrivatePort")) + "/" + JsonString(port, "Type"),
           JsonString(port, "IP"), static_cast<int>(JsonInt(port, "PublicPort"))});
    }
  }
  return summary;
}

}  // namespace

VersionNumber ParseVersionNumber(std::string_view text) {
  VersionNumber version;
  const std::string copy(text);
  if (std::sscanf(copy.c_str(), "%d.%d", &version.major, &version.minor) != 2) {
    return {};
  }
  return version;
}

std::string UrlEncode(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '_' || c == '.' || c == '~') {
      result += c;
    } else {
      std::array<char, 4> hex{};
      std::snprintf(hex.data(), hex.size(), "%%%02X", byte);
      result += hex.data();
    }
  }
  return result;
}

DockerClient::DockerClient(std::string socket_path) : socket_path_(std::move(socket_path)) {}
DockerClient::~DockerClient() = default;

Result<VersionNumber> DockerClient::ApiVersion() {
  {
    const std::lock_guard lock(mutex_);
    if (api_version_ != VersionNumber{}) {
      return api_version_;
    }
  }
  auto connection = TRY(HttpConnection::Open(socket_path_, limits::kDockerTimeout));
  HttpRequest request{.method = "GET", .target = "/_ping", .timeout = limits::kDockerTimeout};
  const HttpResponse response = TRY(connection->Call(request));
  const VersionNumber server = ParseVersionNumber(response.api_version);
  if (!Succeeded(response.status) || server == VersionNumber{}) {
    return MakeError(ErrorCode::kUnavailable, "no docker engine answers at " + socket_path_ +
                                                  " (status " + std::to_string(response.status) +
                                                  ")");
  }
  if (server < kOldestApi) {
    return MakeError(ErrorCode::kVersionMismatch,
                     "docker engine at " + socket_path_ + " speaks API " + ToText(server) +
                         ", at least " + ToText(kOldestApi) + " is needed");
  }
  const std::lock_guard lock(mutex_);
  api_version_ = std::min(server, kNewestApi);
  return api_version_;
}

Result<std::string> DockerClient::Path(std::string_view rest) {
  return "/v" + ToText(TRY(ApiVersion())) + std::string(rest);
}

Result<HttpResponse> DockerClient::Call(std::string_view method, std::string_view path,
                                        std::string body, std::chrono::milliseconds timeout) {
  HttpRequest request{.method = std::string(method),
                      .target = TRY(Path(path)),
                      .body = std::move(body),
                      .timeout = timeout};
  auto connection = TRY(HttpConnection::Open(socket_path_, limits::kDockerTimeout));
  HttpResponse response = TRY(connection->Call(request));
  if (!Succeeded(response.status)) {
    return EngineError(response.status, response.body);
  }
  return response;
}

Result<std::string> DockerClient::Get(std::string_view path) {
  return TRY(Call("GET", path, {})).body;
}

Result<> DockerClient::Do(std::string_view method, std::string_view path, std::string body,
                          std::chrono::milliseconds timeout) {
  TRY(Call(method, path, std::move(body), timeout));
  return {};
}

Result<> DockerClient::Ping() { return Do("GET", "/_ping"); }

Result<EngineInfo> DockerClient::Info() {
  const std::string text = TRY(Get("/info"));
  EngineInfo info = TRY(ParseEngineInfo(text));
  info.api_version = ToText(TRY(ApiVersion()));
  return info;
}

Result<std::vector<ContainerSummary>> DockerClient::ListContainers(bool all,
                                                                   const StringMap& filters) {
  const std::string path =
      std::string("/containers/json?all=") + (all ? "1" : "0") + "&filters=" + Filters(filters);
  const Json list = Json::parse(TRY(Get(path)), nullptr, false);
  std::vector<ContainerSummary> result;
  if (!list.is_array()) {
    return MakeError(ErrorCode::kInternal, "docker: container list is not a list");
  }
  for (const Json& item : list) {
    result.push_back(ParseSummary(item));
  }
  return result;
}

Result<ContainerInfo> DockerClient::InspectContainer(const std::string& id_or_name) {
  const std::string text = TRY(Get("/containers/" + UrlEncode(id_or_name) + "/json"));
  return ParseContainer(text);
}

Result<std::string> DockerClient::CreateContainer(const std::string& name,
                                                  const std::string& json) {
  const auto response = TRY(Call("POST", "/containers/create?name=" + UrlEncode(name), json));
  return JsonString(TRY(ParseJsonObject(response.body, "container create")), "Id");
}

Result<> DockerClient::StartContainer(const std::string& id, std::chrono::milliseconds timeout) {
  return Do("POST", "/containers/" + UrlEncode(id) + "/start", {}, timeout);
}

Result<> DockerClient::StopContainer(const std::string& id, std::chrono::seconds grace) {
  return Do("POST", "/containers/" + UrlEncode(id) + "/stop?t=" + std::to_string(grace.count()), {},
            grace + limits::kDockerTimeout);
}

Result<> DockerClient::KillContainer(const std::string& id, const std::string& signal) {
  return Do("POST", "/containers/" + UrlEncode(id) + "/kill?signal=" + UrlEncode(signal));
}

Result<> DockerClient::RemoveContainer(const std::string& id, bool force, bool volumes) {
  return Do("DELETE", "/containers/" + UrlEncode(id) + "?force=" + (force ? "1" : "0") +
                          "&v=" + (volumes ? "1" : "0"));
}

Result<> DockerClient::RenameContainer(const std::string& id, const std::string& name) {
  return Do("POST", "/containers/" + UrlEncode(id) + "/rename?name=" + UrlEncode(name));
}

Result<> DockerClient::UpdateRestartPolicy(const std::string& id, const RestartPolicy& policy) {
  Json json;
  json["RestartPolicy"] = {{"Name", policy.name},
                           {"MaximumRetryCount", policy.maximum_retry_count}};
  return Do("POST", "/containers/" + UrlEncode(id) + "/update", DumpJson(json));
}

Result<int> DockerClient::WaitContainer(const std::string& id, std::chrono::milliseconds timeout) {
  const auto response = TRY(Call("POST", "/containers/" + UrlEncode(id) + "/wait", {}, timeout));
  return static_cast<int>(
      JsonInt(TRY(ParseJsonObject(response.body, "container wait")), "StatusCode"));
}

Result<std::vector<ExecInfo>> DockerClient::ListExecs(const std::string& id) {
  std::vector<ExecInfo> result;
  const ContainerInfo container = TRY(InspectContainer(id));
  for (const std::string& exec_id : container.exec_ids) {
    auto text = Get("/exec/" + UrlEncode(exec_id) + "/json");
    if (!text && text.error().code == ErrorCode::kNotFound) {
      continue;  // it has ended meanwhile
    }
    if (!text) {
      return text.error();
    }
    const Json json = TRY(ParseJsonObject(*text, "exec inspect"));
    result.push_back({exec_id, JsonBool(json, "Running"), static_cast<int>(JsonInt(json, "Pid"))});
  }
  return result;
}

Result<std::vector<NetworkInfo>> DockerClient::ListNetworks() {
  const Json list = Json::parse(TRY(Get("/networks")), nullptr, false);
  std::vector<NetworkInfo> result;
  for (const Json& item : list) {
    result.push_back(TRY(ParseNetwork(DumpJson(item))));
  }
  return result;
}

Result<NetworkInfo> DockerClient::InspectNetwork(const std::string& id_or_name) {
  return ParseNetwork(TRY(Get("/networks/" + UrlEncode(id_or_name))));
}

Result<std::string> DockerClient::CreateNetwork(const std::string& json) {
  const auto response = TRY(Call("POST", "/networks/create", json));
  return JsonString(TRY(ParseJsonObject(response.body, "network create")), "Id");
}

Result<> DockerClient::RemoveNetwork(const std::string& id_or_name) {
  return Do("DELETE", "/networks/" + UrlEncode(id_or_name));
}

Result<> DockerClient::ConnectNetwork(const std::string& network, const std::string& json) {
  return Do("POST", "/networks/" + UrlEncode(network) + "/connect", json);
}

Result<> DockerClient::DisconnectNetwork(const std::string& network, const std::string& container) {
  Json json;
  json["Container"] = container;
  json["Force"] = true;
  return Do("POST", "/networks/" + UrlEncode(network) + "/disconnect", DumpJson(json));
}

Result<std::vector<VolumeInfo>> DockerClient::ListVolumes() {
  const std::string text = TRY(Get("/volumes"));
  const Json json = TRY(ParseJsonObject(text, "volume list"));
  std::vector<VolumeInfo> result;
  for (const Json& item : JsonAt(json, "Volumes")) {
    result.push_back(TRY(ParseVolume(DumpJson(item))));
  }
  return result;
}

Result<VolumeInfo> DockerClient::InspectVolume(const std::string& name) {
  return ParseVolume(TRY(Get("/volumes/" + UrlEncode(name))));
}

Result<VolumeInfo> DockerClient::CreateVolume(const std::string& json) {
  return ParseVolume(TRY(Call("POST", "/volumes/create", json)).body);
}

Result<> DockerClient::RemoveVolume(const std::string& name) {
  return Do("DELETE", "/volumes/" + UrlEncode(name));
}

Result<ImageInfo> DockerClient::InspectImage(const std::string& id_or_name) {
  // The engine takes a name with its slashes as part of the path.
  return ParseImage(TRY(Get("/images/" + UrlEncode(id_or_name) + "/json")));
}

Result<std::vector<ImageInfo>> DockerClient::ListImages() {
  const Json list = Json::parse(TRY(Get("/images/json?all=1")), nullptr, false);
  std::vector<ImageInfo> result;
  for (const Json& item : list) {
    auto image = InspectImage(JsonString(item, "Id"));
    if (!image && image.error().code == ErrorCode::kNotFound) {
      continue;  // removed meanwhile
    }
    result.push_back(TRY(std::move(image)));
  }
  return result;
}

Result<> DockerClient::TagImage(const std::string& id, const std::string& repository,
                                const std::string& tag) {
  return Do("POST", "/images/" + UrlEncode(id) + "/tag?repo=" + UrlEncode(repository) +
                        "&tag=" + UrlEncode(tag));
}

Result<> DockerClient::RemoveImage(const std::string& id_or_name) {
  return Do("DELETE", "/images/" + UrlEncode(id_or_name) + "?force=0&noprune=0");
}

namespace {

class ArchiveSource : public ByteSource {
 public:
  explicit ArchiveSource(std::unique_ptr<HttpConnection> connection)
      : connection_(std::move(connection)) {}
  Result<std::size_t> Read(std::span<std::byte> buffer) override {
    return connection_->ReadBody(buffer);
  }

 private:
  std::unique_ptr<HttpConnection> connection_;
};

// Calls `line` for every line of the body: the engine's streams are one JSON object per line.
template <typename F>
Result<> ForEachLine(HttpConnection& connection, F line) {
  std::string pending;
  std::vector<std::byte> buffer(64 * 1024);
  while (true) {
    const std::size_t got = TRY(connection.ReadBody(buffer));
    if (got == 0) {
      break;
    }
    pending.append(reinterpret_cast<const char*>(buffer.data()), got);
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = pending.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      TRY(line(std::string_view(pending).substr(begin, end - begin)));
    }
    pending.erase(0, begin);
    if (pending.size() > limits::kDockerMaxResponseBytes) {
      return MakeError(ErrorCode::kResourceExhausted, "docker: a line without end");
    }
  }
  return line(std::string_view(pending));
}

// One line of the progress of a load: an error in it is the result of the whole call, whose HTTP
// status was sent before.
Result<> CheckProgressLine(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  std::string error = JsonString(JsonAt(json, "errorDetail"), "message");
  if (error.empty()) {
    error = JsonString(json, "error");
  }
  if (!error.empty()) {
    return MakeError(ErrorCode::kInternal, "docker: load image: " + error);
  }
  return {};
}

Result<> SendArchive(HttpConnection& connection, ByteSource& source, bool& source_failed) {
  std::vector<std::byte> buffer(limits::kMaxChunkBytes);
  while (true) {
    auto got = source.Read(buffer);
    source_failed = !got;
    const std::size_t size = TRY(std::move(got));
    if (size == 0) {
      return connection.EndUpload();
    }
    TRY(connection.WriteBody(std::span(buffer).first(size)));
  }
}

}  // namespace

Result<std::unique_ptr<ByteSource>> DockerClient::OpenImageArchive(const std::string& id) {
  HttpRequest request{.method = "GET",
                      .target = TRY(Path("/images/" + UrlEncode(id) + "/get")),
                      .timeout = limits::kDockerStreamIdleTimeout};
  auto connection = TRY(HttpConnection::Open(socket_path_, limits::kDockerTimeout));
  const int status = TRY(connection->BeginDownload(request));
  if (!Succeeded(status)) {
    return EngineError(status, TRY(connection->ReadRest()));
  }
  return std::unique_ptr<ByteSource>(std::make_unique<ArchiveSource>(std::move(connection)));
}

Result<> DockerClient::SaveImage(const std::string& id, ByteSink& sink) {
  auto source = TRY(OpenImageArchive(id));
  std::vector<std::byte> buffer(limits::kMaxChunkBytes);
  while (true) {
    const std::size_t got = TRY(source->Read(buffer));
    if (got == 0) {
      return {};
    }
    TRY(sink.Write(std::span(buffer).first(got)));
  }
}

Result<> DockerClient::LoadImage(ByteSource& source) {
  // Not quiet: the progress lines keep the idle timeout from striking while layers are unpacked.
  HttpRequest request{.method = "POST",
                      .target = TRY(Path("/images/load?quiet=0")),
                      .content_type = "application/x-tar",
                      .timeout = limits::kDockerStreamIdleTimeout};
  auto connection = TRY(HttpConnection::Open(socket_path_, limits::kDockerTimeout));
  TRY(connection->BeginUpload(request));
  bool source_failed = false;
  auto sent = SendArchive(*connection, source, source_failed);
  if (source_failed) {
    return Error(sent.error());  // the connection is closed without a last chunk: no image
  }
  auto status = connection->ReadStatus();
  if (!status) {
    return Error(sent ? status.error() : sent.error());
  }
  if (!Succeeded(*status)) {
    return EngineError(*status, TRY(connection->ReadRest()));
  }
  TRY(ForEachLine(*connection, CheckProgressLine));
  return sent;
}

Result<> DockerClient::WatchContainers(const std::string& id, std::stop_token stop,
                                       const std::function<void(const ContainerEvent&)>& callback) {
  StringMap filters{{"type", "container"}};
  if (!id.empty()) {
    filters["container"] = id;
  }
  // Events may be days apart; a dead engine closes the socket.
  HttpRequest request{.method = "GET",
                      .target = TRY(Path("/events?filters=" + Filters(filters))),
                      .timeout = std::chrono::hours(24 * 365)};
  auto connection = TRY(HttpConnection::Open(socket_path_, limits::kDockerTimeout));
  const std::stop_callback on_stop(stop, [&connection] { connection->Cancel(); });
  auto watch = [&]() -> Result<> {
    const int status = TRY(connection->BeginDownload(request));
    if (!Succeeded(status)) {
      return EngineError(status, TRY(connection->ReadRest()));
    }
    return ForEachLine(*connection, [&](std::string_view line) -> Result<> {
      const Json json = Json::parse(line, nullptr, false);
      const Json& actor = JsonAt(json, "Actor");
      ContainerEvent event{JsonString(json, "Action"), JsonString(actor, "ID"),
                           JsonString(JsonAt(actor, "Attributes"), "name"),
                           JsonInt(json, "timeNano")};
      if (!event.action.empty()) {
        callback(event);
      }
      return {};
    });
  };
  auto result = watch();
  if (stop.stop_requested()) {
    return {};
  }
  TRY(std::move(result));
  return MakeError(ErrorCode::kUnavailable,
                   "docker engine at " + socket_path_ + " ended the event stream");
}

}  // namespace migrate
