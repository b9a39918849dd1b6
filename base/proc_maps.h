// /proc/PID/maps as values. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace migrate {

struct Mapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  std::uint64_t offset = 0;
  std::uint64_t inode = 0;
  std::string name;  // a path, "[stack]", "" for anonymous memory

  bool Contains(std::uint64_t address) const { return address >= start && address < end; }
};

Result<std::vector<Mapping>> ParseProcMaps(std::string_view text);
// In ascending order. Empty for a task without memory: a zombie, a kernel thread.
Result<std::vector<Mapping>> ReadProcMaps(pid_t pid);

// The lowest address of `size` free bytes that lie, with all of `anchor`, within `reach` bytes, and
// at least `distance` from any other mapping than the anchor; above it if possible. 0: none.
// Above the vDSO nothing is in the way of the kernel's own choices, which go downwards.
std::uint64_t FindFreeRange(const std::vector<Mapping>& mappings, const Mapping& anchor,
                            std::uint64_t size, std::uint64_t reach, std::uint64_t distance);

}  // namespace migrate
