#include "migrated/oci_runtime/daemon_json.h"

#include <sys/stat.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ordered_json ToJson(const RuntimeEntry& entry) {
  return {{"path", entry.path.string()},
          {"runtimeArgs", {"--state-dir=" + entry.state_dir.string()}}};
}

Result<ordered_json> Parse(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return ordered_json::object();
  }
  try {
    ordered_json parsed = ordered_json::parse(text);
    if (parsed.is_object() && (!parsed.contains("runtimes") || parsed["runtimes"].is_object())) {
      return parsed;
    }
  } catch (const ordered_json::exception& error) {
    return MakeError(ErrorCode::kInvalidArgument,
                     std::string("not valid JSON, left as it is: ") + error.what());
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "not a JSON object with an object 'runtimes', left as it is");
}

// The width of the indentation in use, so that a diff shows our lines only.
int IndentOf(std::string_view text) {
  const auto newline = text.find("\n ");
  if (newline == std::string_view::npos) {
    return text.find("\n\t") != std::string_view::npos ? 1 : 2;
  }
  const auto word = text.find_first_not_of(' ', newline + 1);
  return word == std::string_view::npos ? 2 : static_cast<int>(word - newline - 1);
}

std::string Print(const ordered_json& value, std::string_view before) {
  const bool tabs = before.find("\n\t") != std::string_view::npos;
  return value.dump(IndentOf(before), tabs ? '\t' : ' ') + "\n";
}

std::string PathOf(const ordered_json& runtime) {
  return runtime.is_object() && runtime.contains("path") && runtime["path"].is_string()
             ? runtime["path"].get<std::string>()
             : std::string();
}

Result<bool> Change(const fs::path& file,
                    const std::function<Result<std::string>(std::string_view)>& change) {
  // Written through a symbolic link, not over it.
  std::error_code error;
  const fs::path target = fs::exists(file, error) ? fs::canonical(file, error) : file;
  std::string before;
  unsigned mode = 0644;
  if (fs::exists(target, error)) {
    before = TRY(ReadSmallFile(target));
    mode = static_cast<unsigned>(fs::status(target, error).permissions()) & 07777;
  } else if (fs::create_directories(target.parent_path(), error); error) {
    return ErrnoError("create " + target.parent_path().string(), error.value());
  }
  auto after = change(before);
  if (!after) {
    return std::move(after).error().WithContext(file.string());
  }
  if (*after == before) {
    return false;
  }
  if (!before.empty()) {
    TRY(WriteFileAtomically(target.string() + ".bak", before, mode));
  }
  TRY(WriteFileAtomically(target, *after, mode));
  return true;
}

}  // namespace

Result<std::string> WithRuntime(std::string_view daemon_json, const RuntimeEntry& entry) {
  ordered_json config = TRY(Parse(daemon_json));
  const ordered_json wanted = ToJson(entry);
  ordered_json& runtimes = config["runtimes"];
  if (runtimes.is_null()) {
    runtimes = ordered_json::object();
  }
  if (runtimes.contains(entry.name)) {
    const ordered_json& present = runtimes[entry.name];
    if (present == wanted) {
      return std::string(daemon_json);
    }
    return MakeError(ErrorCode::kAlreadyExists,
                     "there is another runtime '" + entry.name + "' (" + PathOf(present) +
                         "): remove it, or choose another name with --name");
  }
  runtimes[entry.name] = wanted;
  return Print(config, daemon_json);
}

Result<std::string> WithoutRuntime(std::string_view daemon_json, const RuntimeEntry& entry) {
  ordered_json config = TRY(Parse(daemon_json));
  if (!config.contains("runtimes") || !config["runtimes"].contains(entry.name)) {
    return std::string(daemon_json);
  }
  const std::string path = PathOf(config["runtimes"][entry.name]);
  if (fs::path(path).filename() != entry.path.filename()) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "the runtime '" + entry.name + "' (" + path + ") is not ours");
  }
  config["runtimes"].erase(entry.name);
  if (config["runtimes"].empty()) {
    config.erase("runtimes");
  }
  return Print(config, daemon_json);
}

Result<bool> RegisterRuntime(const fs::path& file, const RuntimeEntry& entry) {
  return Change(file, [&](std::string_view before) { return WithRuntime(before, entry); });
}

Result<bool> UnregisterRuntime(const fs::path& file, const RuntimeEntry& entry) {
  std::error_code error;
  if (!fs::exists(file, error)) {
    return false;
  }
  return Change(file, [&](std::string_view before) { return WithoutRuntime(before, entry); });
}

}  // namespace migrate
