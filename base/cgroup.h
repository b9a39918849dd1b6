// The freezer cgroup of a container: where it is, freezing, thawing, listing and killing. The only
// file that writes to cgroup files. Handles cgroup v1 (freezer hierarchy) and the unified v2.
//
// FrozenCgroup owns one freeze and undoes it when it is destroyed, unless released. After a crash a
// fresh daemon runs the same undo with FrozenCgroup::Thaw(path). Values; any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

namespace migrate {

// The cgroup that freezes `pid`: the v1 freezer hierarchy if one is mounted, else the unified one.
// With a container id the path is cut at the component that carries the id, since a container may
// have put its init into a cgroup of its own below.
Result<std::filesystem::path> FindFreezerCgroup(int pid, std::string_view container_id = {},
                                                const std::filesystem::path& proc = "/proc");

// True for a v1 freezer cgroup, where frozen tasks are in an uninterruptible sleep.
bool IsV1Freezer(const std::filesystem::path& cgroup);

// Of the cgroup and all cgroups below. Tasks that come and go meanwhile may be missing or gone:
// freeze first for an exact answer.
Result<std::vector<int>> CgroupProcesses(const std::filesystem::path& cgroup);
Result<std::vector<int>> CgroupTasks(const std::filesystem::path& cgroup);

class FrozenCgroup {
 public:
  // Returns when every task is frozen; on failure the cgroup has been thawed again.
  static Result<FrozenCgroup> Freeze(const std::filesystem::path& cgroup,
                                     std::chrono::milliseconds timeout = limits::kFreezeTimeout);

  // Thaws a cgroup that may be frozen by somebody who is gone. A cgroup that is gone is fine.
  static Result<> Thaw(const std::filesystem::path& cgroup);

  FrozenCgroup(FrozenCgroup&& other) noexcept;
  FrozenCgroup& operator=(FrozenCgroup&& other) noexcept;
  FrozenCgroup(const FrozenCgroup&) = delete;
  FrozenCgroup& operator=(const FrozenCgroup&) = delete;
  ~FrozenCgroup();

  const std::filesystem::path& path() const { return cgroup_; }
  Result<> Thaw();
  // Leaves it frozen: somebody else answers for the thaw.
  void Release() { cgroup_.clear(); }

 private:
  explicit FrozenCgroup(std::filesystem::path cgroup) : cgroup_(std::move(cgroup)) {}
  std::filesystem::path cgroup_;  // empty: nothing to undo
};

// Waits until a cgroup that was told to freeze says that it is frozen.
Result<> WaitFrozen(const std::filesystem::path& cgroup, std::chrono::milliseconds timeout);

// SIGKILL to every process, then thaw: a frozen container dies without one more instruction in user
// mode. Returns when the cgroup is empty.
Result<> KillCgroup(const std::filesystem::path& cgroup,
                    std::chrono::milliseconds timeout = limits::kFreezeTimeout);

// Kills what is left in the cgroup `path` ("/docker/<id>") and removes it, with those below, from
// every hierarchy that is mounted. For the remains of a container that never came to be.
void RemoveCgroupEverywhere(std::string_view path, const std::filesystem::path& proc = "/proc");

}  // namespace migrate
