// What the processes of a container share with processes outside of it, so that it changes, or is
// heard of, without a syscall of theirs: pipes, unix sockets, memory, files that both have mapped.
// Found by comparing /proc of all processes of this host, which takes some milliseconds per hundred
// of them. Reading only; thread-safe. What is shared a moment later is not seen: look while the
// container is frozen where it matters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "recorder/process_scan.h"

namespace migrate {

struct OutsideEnd {
  enum class Kind { kPipe, kUnixSocket, kMapping };
  Kind kind = Kind::kPipe;
  Process inside;                // the first that has it
  std::string place;             // "descriptor 5", or the range of addresses
  std::string name;              // what /proc says it is
  std::uint64_t inode = 0;       // of what the container has; for a socket not that of its peer
  bool standard_stream = false;  // some process of the container has this pipe as 0, 1 or 2
  Process outside;
};

// One for each pipe, socket and mapped file. `cgroup` is the container's freezer cgroup; this
// process is not taken for one outside. Fails if the kernel cannot name the peers of unix sockets.
Result<std::vector<OutsideEnd>> FindOutsideEnds(int init_pid, const std::filesystem::path& cgroup);

}  // namespace migrate
