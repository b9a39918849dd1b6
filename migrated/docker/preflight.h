// What cannot be moved, found from the source's description and from the target's engine before
// anything is touched: every blocker at once. Notes are what will not be as before, without being
// a reason to refuse. Nothing here changes anything on either host.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/blocker.h"
#include "base/result.h"
#include "migrated/docker/container_spec.h"

namespace migrate {

enum class BindMountPolicy {
  kExisting,  // refused unless the same path exists at the target
  kCopy,      // the daemon copies them
  kRefuse,
};

struct SourceCheckOptions {
  BindMountPolicy bind_mounts = BindMountPolicy::kExisting;
  std::string runtime_name = "migrate";  // our own, beside runc
};

// A pure function of the description.
std::vector<Blocker> CheckSource(const ContainerSpec& spec, const SourceCheckOptions& options);
std::vector<Blocker> NotesOnSource(const ContainerSpec& spec);

struct TargetCheckOptions {
  BindMountPolicy bind_mounts = BindMountPolicy::kExisting;
  std::string runtime_name = "migrate";
  std::int64_t required_bytes = 0;  // files, image and checkpoint, on the engine's file system
  // Volumes and bind paths that an earlier move of this container left here: may hold data.
  std::set<std::string> ours_from_earlier_move = {};
};

// Looks at the engine and at the calling thread's network namespace, which must be the engine's.
// An Error only if the engine cannot be asked.
Result<std::vector<Blocker>> CheckTarget(DockerClient& client, const ContainerSpec& spec,
                                         const TargetCheckOptions& options);

// No entries below the directory; false if it cannot be read.
bool IsEmptyDirectory(const std::string& path);

}  // namespace migrate
