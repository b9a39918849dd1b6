#include "migrated/node.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/file_util.h"
#include "base/subprocess.h"
#include "migrated/compatibility.h"
#include "migrated/docker/events.h"
#include "migrated/foreign_limits.h"
#include "migrated/hold_keeper.h"
#include "recorder/checkpoint.h"

namespace migrate {
namespace {

constexpr auto kVersionTimeout = std::chrono::seconds(10);

// Instruction sets that libraries choose code by at their start (glibc's and OpenSSL's lists).
constexpr std::array kFeaturesThatMatter = {
    "ssse3",       "sse4_1", "sse4_2",     "popcnt",   "avx",       "avx2",     "fma",
    "bmi1",        "bmi2",   "movbe",      "aes",      "pclmulqdq", "sha_ni",   "erms",
    "fsrm",        "rtm",    "avx512f",    "avx512bw", "avx512cd",  "avx512dq", "avx512vl",
    "avx512_vnni", "vaes",   "vpclmulqdq", "gfni",     "adx",       "rdrand",   "rdseed",
    "xsave",       "xsavec", "xsaves",     "pku",      "ospke"};

std::string RuncVersion(const std::string& runc) {
  auto outcome = RunSubprocess({.argv = {runc, "--version"}, .timeout = kVersionTimeout});
  if (!outcome || !outcome->ok()) {
    return {};
  }
  std::istringstream words(outcome->stdout_text);
  std::string word;
  while (words >> word) {
    if (word == "version") {
      words >> word;
      return word;
    }
  }
  return {};
}

std::uint32_t CgroupVersion() {
  return std::filesystem::exists("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1;
}

}  // namespace

std::vector<std::string> CpuFeatures() {
  std::vector<std::string> features;
  const auto text = ReadSmallFile("/proc/cpuinfo");
  if (!text) {
    return features;
  }
  const auto begin = text->find("flags");
  const auto end = text->find('\n', begin);
  if (begin == std::string::npos) {
    return features;
  }
  std::istringstream words(text->substr(begin, end - begin));
  for (std::string word; words >> word;) {
    if (std::find(kFeaturesThatMatter.begin(), kFeaturesThatMatter.end(), word) !=
        kFeaturesThatMatter.end()) {
      features.push_back(word);
    }
  }
  return features;
}

Node::Node(Config config, std::unique_ptr<Journal> journal, ShipService* ship)
    : config_(std::move(config)),
      journal_(std::move(journal)),
      docker_(std::make_unique<DockerClient>(config_.docker_socket)),
      docker_events_(std::make_unique<DockerEvents>(*docker_)),
      holds_(std::make_unique<HoldKeeper>()),
      ship_(ship) {}

Node::~Node() = default;

Result<std::string> Node::CriuProgram() const {
  std::vector<std::string> directories{config_.criu_path};
  if (config_.criu_path.empty()) {
    const char* path = std::getenv("PATH");
    std::istringstream words(path == nullptr ? "" : path);
    directories.clear();
    for (std::string directory; std::getline(words, directory, ':');) {
      directories.push_back(directory);
    }
    // Where scripts/setup puts one when the distribution's does not work on this kernel.
    directories.insert(directories.begin(), "/opt/migrate/criu/bin");
  }
  for (const std::string& directory : directories) {
    if (access((directory + "/criu").c_str(), X_OK) == 0) {
      return directory + "/criu";
    }
  }
  return MakeError(ErrorCode::kNotFound, config_.criu_path.empty()
                                             ? "no criu in PATH"
                                             : "no criu in " + config_.criu_path);
}

Result<std::string> Node::CriuVersion() const {
  const std::string program = TRY(CriuProgram());
  const std::lock_guard lock(mutex_);
  if (criu_version_.empty()) {
    criu_version_ = TRY(ProbeCriu(program)).version;
  }
  return criu_version_;
}

Result<> Node::ForeignLimits() const {
  const std::string program = TRY(CriuProgram());
  const std::lock_guard lock(mutex_);
  if (!foreign_limits_) {
    foreign_limits_ = CheckForeignLimits(program);
  }
  return *foreign_limits_;
}

v1::Node Node::Describe() const {
  v1::Node node;
  node.set_name(config_.node_name);
  node.set_version(MIGRATE_VERSION);
  node.set_protocol(ProtocolVersion());
  utsname name{};
  uname(&name);
  node.set_kernel(name.release);
  node.set_architecture(name.machine);
  node.set_cgroup_version(CgroupVersion());
  node.set_insecure(config_.insecure);
  for (std::string& feature : CpuFeatures()) {
    node.add_cpu_features(std::move(feature));
  }
  node.set_peer_endpoint(config_.advertise_address.empty() ? config_.peer_listen
                                                           : config_.advertise_address);
  if (auto criu = CriuVersion()) {
    node.set_criu_version(*criu);
    if (const Result<> limits = ForeignLimits(); !limits) {
      node.add_limitations(limits.error().message);
    }
  } else {
    node.add_problems("no usable CRIU: " + criu.error().message +
                      "; install it with scripts/setup, or set runtime.criu_path");
  }
  node.set_runc_version(RuncVersion(config_.runc));
  if (node.runc_version().empty()) {
    node.add_problems("no usable runc ('" + config_.runc +
                      "'): install it, or set runtime.runc in the configuration");
  }
  auto info = docker_->Info();
  if (!info) {
    node.add_problems(info.error().message);
    return node;
  }
  node.set_docker_version(info->server_version);
  if (std::find(info->runtimes.begin(), info->runtimes.end(), config_.runtime_name) ==
      info->runtimes.end()) {
    node.add_problems("Docker does not know the runtime '" + config_.runtime_name +
                      "': run `migrate-runtime register` and reload Docker");
  }
  return node;
}

std::string Node::MigrationDirectoryPath(const std::string& migration_id) const {
  return config_.state_dir + "/migrations/" + migration_id;
}

Result<std::string> Node::MigrationDirectory(const std::string& migration_id) const {
  const std::string path = MigrationDirectoryPath(migration_id);
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return ErrnoError("mkdir " + path, error.value());
  }
  return path;
}

Result<std::unique_ptr<PeerClient>> Node::ConnectPeer(const std::string& endpoint) const {
  return PeerClient::Create(config_, endpoint);
}

}  // namespace migrate
