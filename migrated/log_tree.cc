#include "migrated/log_tree.h"

#include <filesystem>
#include <set>

#include "migrated/docker/log_files.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

Result<> CopyLog(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  if (!error) {
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  }
  if (error) {
    return ErrnoError("copy log to " + to.string(), error.value());
  }
  return {};
}

}  // namespace

Result<std::optional<LogTree>> LogTreeOf(const ContainerInfo& container,
                                         const std::string& docker_root) {
  const std::vector<LogFile> files = TRY(LogFiles(container, docker_root));
  if (files.empty()) {
    return std::optional<LogTree>();
  }
  LogTree tree{docker_root + "/containers/" + container.id, {}};
  std::set<std::string> kept;
  for (const LogFile& file : files) {
    kept.insert(fs::path(file.path).lexically_relative(tree.directory).begin()->string());
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(tree.directory, error)) {
    const std::string name = entry.path().filename();
    // Files into which the log is rotated later must not be left out.
    if (!kept.contains(name) && name.find("-json.log") == std::string::npos) {
      tree.excludes.push_back(name);
    }
  }
  return std::optional(std::move(tree));
}

Result<> PlaceLogs(const std::string& staging, const std::string& source_id,
                   const CreatedContainer& replica) {
  std::error_code error;
  if (!fs::is_directory(replica.container_dir, error)) {
    return MakeError(ErrorCode::kAborted, "the replica has been removed");  // no traces of it
  }
  for (auto it = fs::recursive_directory_iterator(staging, error);
       it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (!it->is_regular_file(error)) {
      continue;
    }
    std::string name = it->path().lexically_relative(staging);
    if (const auto at = name.find(source_id); at != std::string::npos) {
      name.replace(at, source_id.size(), "ID");
    }
    TRY(CopyLog(it->path(), TRY(LogPathAt(replica.container_dir, replica.id, name))));
  }
  return {};
}

}  // namespace migrate
