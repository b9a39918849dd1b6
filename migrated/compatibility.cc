#include "migrated/compatibility.h"

#include <algorithm>
#include <charconv>

namespace migrate {
namespace {

v1::Blocker MakeBlocker(std::string code, std::string subject, std::string detail,
                        std::string remedy) {
  v1::Blocker blocker;
  blocker.set_code(std::move(code));
  blocker.set_subject(std::move(subject));
  blocker.set_detail(std::move(detail));
  blocker.set_remedy(std::move(remedy));
  return blocker;
}

// "4.2.1" -> 4002; what follows the minor version has never changed the image format.
int MajorMinor(const std::string& version) {
  int major = 0;
  int minor = 0;
  const char* end = version.data() + version.size();
  const auto [rest, error] = std::from_chars(version.data(), end, major);
  if (error == std::errc{} && rest != end && *rest == '.') {
    std::from_chars(rest + 1, end, minor);
  }
  return major * 1000 + minor;
}

std::string MissingFeatures(const v1::Node& source, const v1::Node& target) {
  std::string missing;
  for (const std::string& feature : source.cpu_features()) {
    if (std::find(target.cpu_features().begin(), target.cpu_features().end(), feature) ==
        target.cpu_features().end()) {
      missing += (missing.empty() ? "" : ", ") + feature;
    }
  }
  return missing;
}

}  // namespace

std::vector<v1::Blocker> CompatibilityBlockers(const v1::Node& source, const v1::Node& target) {
  std::vector<v1::Blocker> blockers;
  if (source.protocol() != target.protocol()) {
    blockers.push_back(MakeBlocker("VERSION_MISMATCH", target.name(),
                                   "migrated " + source.version() + " here speaks protocol " +
                                       std::to_string(source.protocol()) + ", migrated " +
                                       target.version() + " there speaks protocol " +
                                       std::to_string(target.protocol()),
                                   "install the same version on both hosts"));
    return blockers;  // what else it says of itself may mean something else
  }
  if (source.architecture() != target.architecture()) {
    blockers.push_back(
        MakeBlocker("ARCHITECTURE", target.name(),
                    source.architecture() + " here, " + target.architecture() + " there",
                    "choose a host of the same architecture"));
  }
  for (const std::string& problem : target.problems()) {
    blockers.push_back(MakeBlocker("TARGET_NOT_READY", target.name(), problem,
                                   "`migrate node` on the target lists what is missing"));
  }
  if (!target.criu_version().empty() &&
      MajorMinor(target.criu_version()) < MajorMinor(source.criu_version())) {
    blockers.push_back(MakeBlocker("CRIU_OLDER", target.name(),
                                   "CRIU " + target.criu_version() +
                                       " there may not read the images of CRIU " +
                                       source.criu_version() + " here",
                                   "install the same CRIU on both hosts (scripts/setup)"));
  }
  if (source.cgroup_version() != target.cgroup_version()) {
    blockers.push_back(MakeBlocker("CGROUP_VERSION", target.name(),
                                   "cgroup v" + std::to_string(source.cgroup_version()) +
                                       " here, v" + std::to_string(target.cgroup_version()) +
                                       " there",
                                   "choose a host with the same cgroup version"));
  }
  const std::string missing = MissingFeatures(source, target);
  if (!missing.empty()) {
    blockers.push_back(MakeBlocker(
        "CPU_FEATURES", target.name(),
        "the CPU there lacks " + missing + ", which running programs may have found here",
        "choose a host whose CPU has them"));
  }
  return blockers;
}

Error BlockersError(const std::vector<v1::Blocker>& blockers) {
  Error error = MakeError(ErrorCode::kFailedPrecondition, "cannot be moved");
  if (!blockers.empty()) {
    const v1::Blocker& first = blockers.front();
    error.reason = first.code();
    error.message = first.subject() + ": " + first.detail();
    if (!first.remedy().empty()) {
      error.message += "; " + first.remedy();
    }
    if (blockers.size() > 1) {
      error.message += " (and " + std::to_string(blockers.size() - 1) + " more)";
    }
    if (first.code() == "VERSION_MISMATCH") {
      error.code = ErrorCode::kVersionMismatch;
    }
  }
  return error;
}

}  // namespace migrate
