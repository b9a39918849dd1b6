// Makes Docker know the runtime: one entry in daemon.json. Everything else in the file keeps its
// order and value; the file before the change is kept as daemon.json.bak. Docker has to be told to
// reload (SIGHUP) by the caller. Not thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace migrate {

struct RuntimeEntry {
  std::string name = "migrate";
  std::filesystem::path path;
  std::filesystem::path state_dir;
};

// Pure: the new content of daemon.json ("" stands for no file). kAlreadyExists if there is another
// runtime of that name.
Result<std::string> WithRuntime(std::string_view daemon_json, const RuntimeEntry& entry);
// Pure: without the entry, if it is ours, i.e. its program has the same file name as `path`.
Result<std::string> WithoutRuntime(std::string_view daemon_json, const RuntimeEntry& entry);

// False: nothing had to be changed.
Result<bool> RegisterRuntime(const std::filesystem::path& file, const RuntimeEntry& entry);
Result<bool> UnregisterRuntime(const std::filesystem::path& file, const RuntimeEntry& entry);

}  // namespace migrate
