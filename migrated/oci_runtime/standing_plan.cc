#include "migrated/oci_runtime/standing_plan.h"

#include <algorithm>
#include <system_error>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

bool IsContainerId(std::string_view id) {
  return id.size() == 64 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<fs::path> PlanPath(const fs::path& state_dir, std::string_view id) {
  if (!IsContainerId(id)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "\"" + std::string(id) + "\" is not a container id");
  }
  return state_dir / "relays" / (std::string(id) + ".json");
}

}  // namespace

Result<> WriteStandingPlan(const fs::path& state_dir, std::string_view container_id,
                           std::string_view plan) {
  if (plan.empty()) {
    return RemoveStandingPlan(state_dir, container_id);
  }
  const fs::path path = TRY(PlanPath(state_dir, container_id));
  std::error_code error;
  if (fs::create_directories(path.parent_path(), error); error) {
    return ErrnoError("create " + path.parent_path().string(), error.value());
  }
  // Whoever can write here decides what tunnels root makes.
  fs::permissions(path.parent_path(), fs::perms::owner_all, error);
  return WriteFileAtomically(path, std::string(plan));
}

Result<> RemoveStandingPlan(const fs::path& state_dir, std::string_view container_id) {
  const fs::path path = TRY(PlanPath(state_dir, container_id));
  std::error_code error;
  if (fs::remove(path, error); error) {
    return ErrnoError("remove " + path.string(), error.value());
  }
  return {};
}

std::optional<std::string> ReadStandingPlan(const fs::path& state_dir,
                                            std::string_view container_id) {
  const auto path = PlanPath(state_dir, container_id);
  if (!path) {
    return std::nullopt;
  }
  auto text = ReadSmallFile(*path);
  return text && !text->empty() ? std::optional(std::move(*text)) : std::nullopt;
}

}  // namespace migrate
