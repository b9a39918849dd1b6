// T0: the image of a frozen container, made by CRIU through the `runc` that runs the container.
//
// The caller has frozen the cgroup (base/cgroup.h) and it stays frozen, whatever happens here: the
// container runs not one instruction between the freeze and the caller's thaw. Nothing in the
// container changes and no firewall rule is made (holding packets back is the caller's business).
// Blocks for the length of the dump. One call per container at a time; otherwise thread-safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/criu_files.h"
#include "base/limits.h"
#include "base/result.h"

namespace migrate {

struct CheckpointOptions {
  std::string container_id;
  std::filesystem::path exec_root = "/run/docker";  // dockerd's --exec-root
  std::filesystem::path image_dir;                  // made if missing; must hold no other image
  std::filesystem::path work_dir;   // dump.log, stats-dump, the CRIU configuration; not shipped
  std::filesystem::path criu_path;  // the program or its directory; empty: the one in PATH
  std::string runc = "runc";
  bool tcp_established = true;
  bool external_unix_sockets = true;
  bool file_locks = true;
  // A connection that the kernel has accepted but the program has not cannot be dumped. True: it is
  // left out (its client will be reset), false: the checkpoint fails.
  bool skip_in_flight_connections = true;
  // What FindWatchedPaths found before the freeze: without it, the search for the paths of inotify
  // watches (only made if there are any) takes place under the freeze.
  std::vector<std::string> watched_paths = {};
  std::vector<std::string> criu_config_extra = {};  // lines for CRIU's configuration file
  // At the timeout CRIU is killed, and a process that it had in its hands may not survive: make it
  // generous, by the size of the memory.
  std::chrono::milliseconds timeout = limits::kRuncTimeout;
};

struct CheckpointStats : CriuDumpStats {
  std::chrono::microseconds total_time{};  // of the call: runc and CRIU
  // Stopped by a signal before the freeze; also noted in the image, see base/criu_files.h.
  std::vector<int> stopped_processes;
};

// An error names the cause in one line; the logs stay in work_dir.
Result<CheckpointStats> Checkpoint(const CheckpointOptions& options);

// Where the runc of a dockerd with this --exec-root keeps the container's
// state: the directory for `runc --root`.
Result<std::filesystem::path> FindRuncRoot(const std::filesystem::path& exec_root,
                                           std::string_view container_id);

struct CriuInfo {
  std::string version;  // "4.2.1"
  int major = 0;
  int minor = 0;
};

// Starts it once, with `criu check`, which also fills CRIU's cache of kernel features (35 ms saved
// in each first dump or restore after a boot). An error says why it cannot work here.
Result<CriuInfo> ProbeCriu(const std::filesystem::path& criu_path);

}  // namespace migrate
