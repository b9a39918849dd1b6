// The paths behind the inotify watches of a container. The kernel tells a watched inode, not a
// path, and CRIU finds the path by itself only in a few places; on overlayfs, Docker's root
// filesystem, it must be told (irmap-scan-path). Walks the container's directories, so call it
// before the freeze; with the result as `hints` a second call, under the freeze, is cheap.
// Reading only; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace migrate {

struct WatchedPaths {
  std::vector<std::string> found;  // inside the container; the longest first, as CRIU wants them
  int missing = 0;                 // watches whose inode has no path (deleted, or not reached)
};

// `init_pid` is the container's init; `processes` are all its processes.
Result<WatchedPaths> FindWatchedPaths(int init_pid, const std::vector<int>& processes,
                                      const std::vector<std::string>& hints = {});

}  // namespace migrate
