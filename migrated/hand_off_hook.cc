#include "migrated/hand_off_hook.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <thread>

#include "base/subprocess.h"

namespace migrate {
namespace {

constexpr auto kRetryDelay = std::chrono::seconds(1);

const v1::Relay* OwnRelay(const Config& config, const v1::Lineage& lineage) {
  for (const v1::Relay& relay : lineage.relays()) {
    if (relay.origin_node() == config.node_name) {
      return &relay;
    }
  }
  return nullptr;
}

std::string LastLine(std::string text) {
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  const auto start = text.rfind('\n');
  return start == std::string::npos ? text : text.substr(start + 1);
}

Result<> RunOnce(const Config& config, const v1::MigrationRecord& record) {
  const SubprocessOutcome outcome = TRY(RunSubprocess({.argv = {config.hand_off_hook, "hand-off"},
                                                       .env = HookEnvironment(config, record),
                                                       .timeout = kHookTimeout}));
  if (outcome.ok()) {
    return {};
  }
  return MakeError(
      ErrorCode::kInternal,
      "the hook " + config.hand_off_hook +
          (outcome.timed_out ? " did not end in time"
                             : " ended with exit code " + std::to_string(outcome.exit_code)) +
          (outcome.stderr_text.empty() ? "" : ": " + LastLine(outcome.stderr_text)),
      "HOOK_FAILED");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> HookEnvironment(
    const Config& config, const v1::MigrationRecord& record) {
  const v1::Migration& migration = record.migration();
  std::string addresses;
  std::string ports;
  std::string connections = "0";
  if (const v1::Relay* relay = OwnRelay(config, record.lineage())) {
    for (const std::string& address : relay->old_addresses()) {
      addresses += (addresses.empty() ? "" : " ") + address;
    }
    for (const v1::PublishedPort& port : relay->ports()) {
      ports += (ports.empty() ? "" : " ") + port.protocol() + ":" +
               (port.host_ip().empty() ? "*" : port.host_ip()) + ":" +
               std::to_string(port.host_port()) + ":" + std::to_string(port.container_port());
    }
    connections = std::to_string(relay->connections_size());
  }
  return {{"MIGRATE_EVENT", "hand-off"},
          {"MIGRATE_ID", migration.id()},
          {"MIGRATE_CONTAINER", record.final_name()},
          {"MIGRATE_CONTAINER_ID", migration.container_id()},
          {"MIGRATE_NEW_CONTAINER_ID", migration.target_container_id()},
          {"MIGRATE_SOURCE", config.node_name},
          {"MIGRATE_TARGET", migration.peer()},
          {"MIGRATE_OLD_ADDRESSES", addresses},
          {"MIGRATE_PORTS", ports},
          {"MIGRATE_CONNECTIONS", connections}};
}

Result<> CheckHandOffHook(const Config& config) {
  if (config.hand_off_hook.empty()) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "--network=hook needs hand_off.hook in the daemon's configuration", "NO_HOOK");
  }
  if (access(config.hand_off_hook.c_str(), X_OK) != 0) {
    return ErrnoError("hand_off.hook " + config.hand_off_hook);
  }
  return {};
}

Result<> RunHandOffHook(const Config& config, const v1::MigrationRecord& record) {
  Result<> last;
  for (int attempt = 1; attempt <= kHookAttempts; ++attempt) {
    if (attempt > 1) {
      std::this_thread::sleep_for(kRetryDelay);
    }
    last = RunOnce(config, record);
    if (last) {
      return {};
    }
    spdlog::warn("migration {}: {}", record.migration().id(), last.error().message);
  }
  return last;
}

}  // namespace migrate
