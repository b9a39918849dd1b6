// Creates the container, not started, with its networks and volumes, and can undo exactly what it
// created. Every creation is announced through `on_create` before it happens, as plain data for
// the journal, so that a daemon that died in the middle can undo it after a restart. Undo is
// idempotent and never touches what was there before.
//
// The container is created under a temporary name that contains the migration id, and gets its own
// name at the end: undoing by name can never hit somebody else's container.
//
// Two things for whoever copies the files: the engine fills a new, empty volume from the image at
// create, so volumes (and bind paths) have to be mirrored, not merged; and a volume that existed
// and was empty is used as it is and emptied again by the undo.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/docker/container_spec.h"
#include "migrated/docker/preflight.h"

namespace migrate {

enum class UndoKind {
  kContainer,       // name or id
  kNetwork,         // name
  kVolume,          // name
  kVolumeContents,  // name of a volume that was there, empty
  kImage,           // id; one that is in use stays
  kImageTag,        // "repository:tag"
  kPathContents,    // host directory of a copied bind mount that was there, empty
  kPath,            // host path of a copied bind mount that did not exist
  kEmptyDirectory,  // a directory above it; goes only if empty
};
std::string_view UndoKindName(UndoKind kind);
Result<UndoKind> UndoKindFromName(std::string_view name);

struct UndoItem {
  UndoKind kind;
  std::string name;
  bool operator==(const UndoItem&) const = default;
};

using OnCreate = std::function<Result<>(const UndoItem&)>;

struct CreateOnTargetOptions {
  std::string migration_id;
  std::string runtime_name = "migrate";
  BindMountPolicy bind_mounts = BindMountPolicy::kExisting;
  std::set<std::string> ours_from_earlier_move = {};  // volumes that stay on undo
  OnCreate on_create;
};

struct CreatedContainer {
  std::string id;
  std::string upper_dir;  // of overlay2
  std::string work_dir;
  std::string container_dir;  // <DockerRootDir>/containers/<id>: where the log files go
  // Where each mounted tree is on this host, by destination in the container.
  std::map<std::string, std::string> volume_paths;
  std::map<std::string, std::string> bind_paths;
};

// The image must be there. On failure nothing has been undone yet: the caller runs UndoCreate with
// the items that were announced.
Result<CreatedContainer> CreateOnTarget(DockerClient& client, const ContainerSpec& spec,
                                        const CreateOnTargetOptions& options);

// In reverse order; what is gone already is fine. Goes on after a failure and returns the first.
Result<> UndoCreate(DockerClient& client, const std::vector<UndoItem>& items);

}  // namespace migrate
