// The cgroups of a container: freezing, thawing, listing, killing, confining to a CPU. The only
// file that writes to cgroup files. Handles cgroup v1 (freezer hierarchy) and the unified v2.
//
// FrozenCgroup owns one freeze and undoes it when it is destroyed, unless released. After a crash a
// fresh daemon runs the same undo with FrozenCgroup::Thaw(path). Values; any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
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

// The same for any other controller, if its cgroup is not the root and has `file`: the v1 hierarchy
// of the controller, else the unified one.
Result<std::optional<std::filesystem::path>> FindControllerCgroup(
    int pid, std::string_view controller, std::string_view container_id, std::string_view file,
    const std::filesystem::path& proc = "/proc");

// What a cgroup's cpuset.cpus says, as it stands there; empty: what the parent has (v2).
struct CpusetState {
  std::filesystem::path cgroup;
  std::string cpus;

  bool operator==(const CpusetState&) const = default;
};

// Of the cgroup and those below it, parents first.
Result<std::vector<CpusetState>> ReadCpusets(const std::filesystem::path& cgroup);
// Leaves them one CPU. Tasks move at once, frozen or not.
Result<> ConfineCpusets(const std::vector<CpusetState>& states, int cpu);
// Puts back what ReadCpusets found where there is still what ConfineCpusets made of it. Cgroups that
// are gone are fine.
Result<> RestoreCpusets(const std::vector<CpusetState>& states, int cpu);

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

  // Nothing is frozen: where a freeze is to be handed over and there is none.
  static FrozenCgroup None() { return FrozenCgroup({}); }

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
