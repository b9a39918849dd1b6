// The vDSO of a process: an ELF image that the kernel maps, from which programs call functions that
// read clocks without a system call. Parsed here from its bytes, which come from a process and are
// therefore checked at each step. Values; any thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/proc_maps.h"
#include "base/result.h"

namespace migrate {

struct VdsoFunction {
  std::string name;  // without "__vdso_": "clock_gettime"
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

struct VdsoImage {
  std::vector<std::byte> bytes;          // all of the mapping
  std::vector<VdsoFunction> functions;   // by offset; all that start with "__vdso_"

  const VdsoFunction* Find(std::string_view name) const;
};

Result<VdsoImage> ParseVdso(std::vector<std::byte> bytes);

// The one of this very process, hence of all 64-bit processes that the kernel started, as the kernel
// made it.
Result<VdsoImage> OwnVdso();

// Where a process has its vDSO. None: a zombie, or a program that unmapped it.
Result<std::optional<Mapping>> FindVdso(pid_t pid);

}  // namespace migrate
