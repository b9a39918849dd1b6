#include "migrated/oci_runtime/bundle.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

Result<ordered_json> ParseConfig(std::string_view config) {
  ordered_json parsed = ordered_json::parse(config, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json of the bundle is not a JSON object");
  }
  return parsed;
}

ordered_json ToJson(const OciHook& hook) {
  ordered_json json{{"path", hook.path.string()}, {"args", hook.args}};
  if (hook.timeout_seconds > 0) {
    json["timeout"] = hook.timeout_seconds;
  }
  return json;
}

// "slice:prefix:name", as runc expands it: a dash in a slice's name is a level of the hierarchy.
std::string SystemdScope(const std::string& text) {
  const auto first = text.find(':');
  const auto second = text.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos || second + 1 == text.size()) {
    return {};
  }
  const std::string slice = first == 0 ? "system.slice" : text.substr(0, first);
  if (!slice.ends_with(".slice")) {
    return {};
  }
  std::string path;
  const std::string stem = slice.substr(0, slice.size() - std::string(".slice").size());
  for (auto dash = stem.find('-'); dash != std::string::npos; dash = stem.find('-', dash + 1)) {
    path += "/" + stem.substr(0, dash) + ".slice";
  }
  const std::string prefix = text.substr(first + 1, second - first - 1);
  return path + "/" + slice + "/" + (prefix.empty() ? "" : prefix + "-") + text.substr(second + 1) +
         ".scope";
}

}  // namespace

Result<std::string> WithPrestartHooks(std::string_view config, const std::vector<OciHook>& hooks) {
  ordered_json parsed = TRY(ParseConfig(config));
  ordered_json prestart = ordered_json::array();
  for (const OciHook& hook : hooks) {
    if (!hook.last) {
      prestart.push_back(ToJson(hook));
    }
  }
  ordered_json& all = parsed["hooks"];
  if (all.is_null()) {
    all = ordered_json::object();
  }
  if (!all.is_object() || (all.contains("prestart") && !all["prestart"].is_array())) {
    return MakeError(ErrorCode::kInvalidArgument, "config.json of the bundle: malformed hooks");
  }
  if (all.contains("prestart")) {
    for (ordered_json& hook : all["prestart"]) {
      prestart.push_back(std::move(hook));
    }
  }
  for (const OciHook& hook : hooks) {
    if (hook.last) {
      prestart.push_back(ToJson(hook));
    }
  }
  all["prestart"] = std::move(prestart);
  return parsed.dump();
}

Result<std::string> WithResolvedMountSources(std::string_view config) {
  ordered_json parsed = TRY(ParseConfig(config));
  const auto mounts = parsed.find("mounts");
  if (mounts == parsed.end() || !mounts->is_array()) {
    return std::string(config);
  }
  for (ordered_json& mount : *mounts) {
    if (!mount.is_object() || !mount.contains("source") || !mount["source"].is_string()) {
      continue;
    }
    const fs::path source = mount["source"].get<std::string>();
    std::error_code error;
    if (!source.is_absolute() || !fs::is_symlink(source, error)) {
      continue;
    }
    const fs::path resolved = fs::canonical(source, error);
    if (!error) {
      mount["source"] = resolved.string();
    }
  }
  return parsed.dump();
}

Result<bool> HasNetworkHook(std::string_view config) {
  const ordered_json parsed = TRY(ParseConfig(config));
  for (const char* kind : {"prestart", "createRuntime"}) {
    const auto hooks = parsed.value(ordered_json::json_pointer(std::string("/hooks/") + kind),
                                    ordered_json::array());
    for (const ordered_json& hook : hooks) {
      if (hook.dump().find("libnetwork-setkey") != std::string::npos) {
        return true;
      }
    }
  }
  return false;
}

Result<bool> MakesNetworkNamespace(std::string_view config) {
  const ordered_json parsed = TRY(ParseConfig(config));
  const auto namespaces =
      parsed.value(ordered_json::json_pointer("/linux/namespaces"), ordered_json::array());
  for (const ordered_json& entry : namespaces) {
    if (entry.is_object() && entry.value("type", "") == "network") {
      return entry.value("path", "").empty();
    }
  }
  return false;
}

std::string CgroupsPath(std::string_view config) {
  const auto parsed = ParseConfig(config);
  if (!parsed) {
    return {};
  }
  const auto path = parsed->value(ordered_json::json_pointer("/linux/cgroupsPath"), ordered_json());
  const std::string text = path.is_string() ? path.get<std::string>() : std::string();
  return text.starts_with('/') ? text : SystemdScope(text);
}

Result<BundleEdit> BundleEdit::Apply(const fs::path& bundle, const std::vector<OciHook>& hooks) {
  BundleEdit edit(bundle / "config.json");
  edit.original_ = TRY(ReadSmallFile(edit.config_));
  const std::string resolved = TRY(WithResolvedMountSources(edit.original_));
  const std::string changed = TRY(WithPrestartHooks(resolved, hooks));
  TRY(WriteFileAtomically(edit.config_, changed, 0644));
  return edit;
}

BundleEdit::BundleEdit(BundleEdit&& other) noexcept
    : config_(std::move(other.config_)), original_(std::exchange(other.original_, {})) {}

BundleEdit::~BundleEdit() {
  std::error_code error;
  // A failed container's bundle may be gone already.
  if (!original_.empty() && fs::exists(config_, error)) {
    static_cast<void>(WriteFileAtomically(config_, original_, 0644));
  }
}

}  // namespace migrate
