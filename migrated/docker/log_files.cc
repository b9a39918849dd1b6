#include "migrated/docker/log_files.h"

#include <algorithm>
#include <filesystem>

namespace migrate {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kJsonSuffix = "-json.log";
constexpr std::string_view kLocalDirectory = "local-logs";
constexpr std::string_view kLocalFile = "container.log";

// "" or the ".1", ".2.gz" of a rotated file.
bool IsRotation(std::string_view rest) {
  if (rest.empty()) {
    return true;
  }
  if (rest.ends_with(".gz")) {
    rest.remove_suffix(3);
  }
  return rest.size() > 1 && rest[0] == '.' &&
         std::all_of(rest.begin() + 1, rest.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<std::vector<LogFile>> LogFiles(const ContainerInfo& info, const std::string& docker_root) {
  const fs::path container_dir = fs::path(docker_root) / "containers" / info.id;
  fs::path directory;
  std::string prefix;
  std::string portable_prefix;
  if (info.log_driver == "json-file") {
    directory = container_dir;
    prefix = info.id + std::string(kJsonSuffix);
    portable_prefix = "ID" + std::string(kJsonSuffix);
  } else if (info.log_driver == "local") {
    directory = container_dir / kLocalDirectory;
    prefix = kLocalFile;
    portable_prefix = std::string(kLocalDirectory) + "/" + prefix;
  } else {
    return std::vector<LogFile>();
  }
  std::vector<LogFile> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && IsRotation(std::string_view(name).substr(prefix.size())) &&
        entry.is_regular_file(error)) {
      files.push_back({entry.path().string(), portable_prefix + name.substr(prefix.size())});
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return ErrnoError("read " + directory.string(), error.value());
  }
  std::sort(files.begin(), files.end(),
            [](const LogFile& a, const LogFile& b) { return a.path < b.path; });
  return files;
}

Result<std::string> LogPathAt(const std::string& container_dir, const std::string& container_id,
                              const std::string& portable_name) {
  std::string_view rest = portable_name;
  std::string name;
  const std::string json_prefix = "ID" + std::string(kJsonSuffix);
  const std::string local_prefix = std::string(kLocalDirectory) + "/" + std::string(kLocalFile);
  if (rest.starts_with(json_prefix)) {
    rest.remove_prefix(json_prefix.size());
    name = container_id + std::string(kJsonSuffix);
  } else if (rest.starts_with(local_prefix)) {
    rest.remove_prefix(local_prefix.size());
    name = local_prefix;
  } else {
    return MakeError(ErrorCode::kInvalidArgument, "not the name of a log file: " + portable_name);
  }
  if (!IsRotation(rest)) {
    return MakeError(ErrorCode::kInvalidArgument, "not the name of a log file: " + portable_name);
  }
  return container_dir + "/" + name + std::string(rest);
}

}  // namespace migrate
