#include "migrated/docker/create_on_target.h"

#include <filesystem>
#include <fstream>

#include "base/ids.h"
#include "migrated/docker/json_util.h"

namespace migrate {

namespace fs = std::filesystem;

namespace {

constexpr std::pair<UndoKind, std::string_view> kUndoNames[] = {
    {UndoKind::kContainer, "container"},
    {UndoKind::kNetwork, "network"},
    {UndoKind::kVolume, "volume"},
    {UndoKind::kVolumeContents, "volume-contents"},
    {UndoKind::kImage, "image"},
    {UndoKind::kImageTag, "image-tag"},
    {UndoKind::kPathContents, "path-contents"},
    {UndoKind::kPath, "path"},
    {UndoKind::kEmptyDirectory, "empty-directory"},
};

// Whether the engine has the object; only "not found" is a no.
template <typename T>
Result<bool> Exists(const Result<T>& inspected) {
  if (inspected) {
    return true;
  }
  if (inspected.error().code == ErrorCode::kNotFound) {
    return false;
  }
  return Error(inspected.error());
}

Result<std::set<std::string>> CreateNetworks(DockerClient& client, const ContainerSpec& spec,
                                             const OnCreate& on_create) {
  std::set<std::string> created;
  for (const NetworkSpec& network : spec.networks) {
    if (!network.user_defined) {
      continue;
    }
    const bool exists = TRY(Exists(client.InspectNetwork(network.name)));
    if (!exists) {
      TRY(on_create({UndoKind::kNetwork, network.name}));
      TRY(client.CreateNetwork(network.definition_json));
      created.insert(network.name);
    }
  }
  return created;
}

Result<> CreateVolume(DockerClient& client, const MountSpec& mount,
                      const CreateOnTargetOptions& options) {
  const auto volume = client.InspectVolume(mount.name);
  const bool exists = TRY(Exists(volume));
  if (exists) {
    if (options.ours_from_earlier_move.count(mount.name) > 0) {
      return {};
    }
    if (!IsEmptyDirectory(volume->mountpoint)) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       "volume " + mount.name + " of the target is not empty", "VOLUME_TAKEN");
    }
    return options.on_create({UndoKind::kVolumeContents, mount.name});
  }
  TRY(options.on_create({UndoKind::kVolume, mount.name}));
  Json body;
  body["Name"] = mount.name;
  body["Driver"] = mount.driver;
  if (!mount.options.empty()) {
    body["DriverOpts"] = mount.options;
  }
  if (!mount.labels.empty()) {
    body["Labels"] = mount.labels;
  }
  TRY(client.CreateVolume(DumpJson(body)));
  return {};
}

// An empty file or directory for a bind mount that is copied, with what is missing above it.
Result<> CreateBindPath(const MountSpec& mount, const CreateOnTargetOptions& options) {
  const fs::path path(mount.source_path);
  std::error_code error;
  if (fs::exists(path, error)) {
    if (options.ours_from_earlier_move.count(mount.source_path) > 0) {
      return {};
    }
    if (!IsEmptyDirectory(mount.source_path)) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       mount.source_path + " of the target is not empty", "BIND_TAKEN");
    }
    return options.on_create({UndoKind::kPathContents, mount.source_path});
  }
  std::vector<fs::path> missing;
  for (fs::path parent = path.parent_path(); !fs::exists(parent, error);
       parent = parent.parent_path()) {
    missing.insert(missing.begin(), parent);
  }
  for (const fs::path& parent : missing) {
    TRY(options.on_create({UndoKind::kEmptyDirectory, parent.string()}));
    if (!fs::create_directory(parent, error) && error) {
      return ErrnoError("create directory " + parent.string(), error.value());
    }
  }
  TRY(options.on_create({UndoKind::kPath, path.string()}));
  if (mount.path_kind == PathKind::kFile) {
    if (!std::ofstream(path).good()) {
      return ErrnoError("create " + path.string());
    }
  } else if (!fs::create_directory(path, error) && error) {
    return ErrnoError("create directory " + path.string(), error.value());
  }
  return {};
}

// The name that the user knows the image by, if it means the same image here.
Result<std::string> ImageReference(DockerClient& client, const ContainerSpec& spec) {
  const auto image = client.InspectImage(spec.image_name);
  const bool known = TRY(Exists(image));
  return known && image->id == spec.image_id ? spec.image_name : spec.image_id;
}

// The engine checks requested addresses when a network is connected, but those of a create call
// only at the start: too late for us. So the network that create took is connected anew.
Result<> VerifyPrimary(DockerClient& client, const std::string& id, const CreateRequest& request,
                       const std::set<std::string>& created_networks) {
  for (const NetworkConnect& primary : request.primary) {
    if (created_networks.count(primary.network) > 0) {
      continue;  // made by us with just these subnets, and nobody else is in it
    }
    Json body;
    body["Container"] = id;
    body["EndpointConfig"] = Json::parse(primary.endpoint_json, nullptr, false);
    TRY(client.DisconnectNetwork(primary.network, id));
    TRY(client.ConnectNetwork(primary.network, DumpJson(body)));
  }
  return {};
}

Result<CreatedContainer> Describe(DockerClient& client, const ContainerSpec& spec,
                                  const std::string& id) {
  const ContainerInfo info = TRY(client.InspectContainer(id));
  const EngineInfo engine = TRY(client.Info());
  CreatedContainer created;
  created.id = id;
  created.upper_dir = info.upper_dir;
  created.work_dir = info.work_dir;
  created.container_dir = engine.root_dir + "/containers/" + id;
  for (const MountPoint& mount : info.mounts) {
    if (mount.type == "volume") {
      created.volume_paths[mount.destination] = mount.source;
    } else if (mount.type == "bind") {
      created.bind_paths[mount.destination] = mount.source;
    }
  }
  for (const MountSpec& mount : spec.mounts) {
    const bool volume =
        mount.kind == MountKind::kNamedVolume || mount.kind == MountKind::kAnonymousVolume;
    if (volume && created.volume_paths.count(mount.destination) == 0) {
      return MakeError(ErrorCode::kInternal,
                       "the container on the target has no volume at " + mount.destination);
    }
  }
  return created;
}

Result<> EmptyDirectory(const fs::path& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    fs::remove_all(entry.path(), error);
    if (error) {
      break;
    }
  }
  return error ? Result<>(ErrnoError("empty " + directory.string(), error.value())) : Result<>();
}

Result<> Undo(DockerClient& client, const UndoItem& item) {
  std::error_code error;
  switch (item.kind) {
    case UndoKind::kContainer:
      return client.RemoveContainer(item.name, /*force=*/true, /*volumes=*/true);
    case UndoKind::kNetwork:
      return client.RemoveNetwork(item.name);
    case UndoKind::kVolume:
      return client.RemoveVolume(item.name);
    case UndoKind::kVolumeContents: {
      const VolumeInfo volume = TRY(client.InspectVolume(item.name));
      return EmptyDirectory(volume.mountpoint);
    }
    case UndoKind::kPathContents:
      return EmptyDirectory(item.name);
    case UndoKind::kImage:
    case UndoKind::kImageTag: {
      auto removed = client.RemoveImage(item.name);
      if (!removed && removed.error().code == ErrorCode::kAborted) {
        return {};  // somebody uses it by now
      }
      return removed;
    }
    case UndoKind::kPath:
      fs::remove_all(item.name, error);
      break;
    case UndoKind::kEmptyDirectory:
      fs::remove(item.name, error);
      return {};  // not empty: somebody else's files are in it
  }
  return error ? Result<>(ErrnoError("remove " + item.name, error.value())) : Result<>();
}

}  // namespace

std::string_view UndoKindName(UndoKind kind) {
  for (const auto& [value, name] : kUndoNames) {
    if (value == kind) {
      return name;
    }
  }
  return "unknown";
}

Result<UndoKind> UndoKindFromName(std::string_view name) {
  for (const auto& [value, text] : kUndoNames) {
    if (text == name) {
      return value;
    }
  }
  return MakeError(ErrorCode::kInvalidArgument, "unknown undo item " + std::string(name));
}

Result<CreatedContainer> CreateOnTarget(DockerClient& client, const ContainerSpec& spec,
                                        const CreateOnTargetOptions& options) {
  if (!IsMigrationId(options.migration_id) || !options.on_create) {
    return MakeError(ErrorCode::kInvalidArgument, "create needs a migration id and a journal");
  }
  const auto created_networks = TRY(CreateNetworks(client, spec, options.on_create));
  for (const MountSpec& mount : spec.mounts) {
    if (mount.kind == MountKind::kNamedVolume) {
      TRY(CreateVolume(client, mount, options));
    } else if (mount.kind == MountKind::kBind && options.bind_mounts == BindMountPolicy::kCopy) {
      TRY(CreateBindPath(mount, options));
    }
  }
  CreateOptions create;
  create.runtime_name = options.runtime_name;
  create.image = TRY(ImageReference(client, spec));
  create.api_version = TRY(client.ApiVersion());
  const CreateRequest request = TRY(MakeCreateRequest(spec, create));

  const std::string temporary_name = "migrate-" + options.migration_id;
  TRY(options.on_create({UndoKind::kContainer, temporary_name}));
  const std::string id = TRY(client.CreateContainer(temporary_name, request.body));
  TRY(options.on_create({UndoKind::kContainer, id}));
  TRY(VerifyPrimary(client, id, request, created_networks));
  for (const NetworkConnect& connect : request.connects) {
    Json body;
    body["Container"] = id;
    body["EndpointConfig"] = Json::parse(connect.endpoint_json, nullptr, false);
    TRY(client.ConnectNetwork(connect.network, DumpJson(body)));
  }
  TRY(client.RenameContainer(id, spec.name));
  return Describe(client, spec, id);
}

Result<> UndoCreate(DockerClient& client, const std::vector<UndoItem>& items) {
  Result<> first;
  for (auto item = items.rbegin(); item != items.rend(); ++item) {
    auto undone = Undo(client, *item);
    if (!undone && undone.error().code != ErrorCode::kNotFound && first) {
      first = Error(undone.error())
                  .WithContext("undo " + std::string(UndoKindName(item->kind)) + " " + item->name);
    }
  }
  return first;
}

}  // namespace migrate
