// The bundle's config.json for the length of a restore: our hooks stand before Docker's own, and
// the original is put back afterwards, since Docker shows and later starts what is in the bundle.
// BundleEdit owns one edit. Not thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace migrate {

struct OciHook {
  std::filesystem::path path;
  std::vector<std::string> args;
  int timeout_seconds = 0;  // 0: none
  bool last = false;        // behind the engine's hooks: the container has its addresses
};

// Pure: config.json with `hooks` in front of, or behind, the prestart hooks that are there.
Result<std::string> WithPrestartHooks(std::string_view config, const std::vector<OciHook>& hooks);

// Pure but for reading links: config.json with the sources of bind mounts resolved. CRIU mounts a
// source that is a symbolic link as the link itself, and then does not find what it has mounted;
// Debian's docker-init (`docker run --init`) is such a link.
Result<std::string> WithResolvedMountSources(std::string_view config);

// True if the engine sets the network up in a prestart hook (`libnetwork-setkey`); newer engines do
// it between `create` and `start`, from outside, and then the restore has to wait for them.
Result<bool> HasNetworkHook(std::string_view config);

// True if the container gets a network namespace of its own: not with --network host or container:.
Result<bool> MakesNetworkNamespace(std::string_view config);

// Where the container's cgroup is to be: "/docker/<id>", or with the systemd driver
// "/system.slice/docker-<id>.scope". Empty if the configuration does not say.
std::string CgroupsPath(std::string_view config);

class BundleEdit {
 public:
  static Result<BundleEdit> Apply(const std::filesystem::path& bundle,
                                  const std::vector<OciHook>& hooks);
  BundleEdit(BundleEdit&& other) noexcept;
  BundleEdit& operator=(BundleEdit&&) = delete;
  ~BundleEdit();

  const std::string& original() const { return original_; }

 private:
  explicit BundleEdit(std::filesystem::path config) : config_(std::move(config)) {}
  std::filesystem::path config_;
  std::string original_;
};

}  // namespace migrate
