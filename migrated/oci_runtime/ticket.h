// The restore ticket: the daemon's order to migrate-runtime that the next `create` of a container
// is a restore. One JSON file per container below <state dir>/tickets, used once.
//
//   <id>.json          written by the daemon
//   <id>.used          from `create` on: what to restore, and that `start` has nothing to start
//   <id>.result.json   written by the runtime: how the restore ended
//
// `delete` removes <id>.used; the daemon removes the rest with RemoveTicket. Values; any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace migrate {

inline constexpr const char* kDefaultRuntimeStateDir = "/run/migrated/runtime";

struct RestoreTicket {
  std::string migration_id;
  std::filesystem::path image_dir;
  std::filesystem::path work_dir;   // must exist: restore.log, stats-restore
  std::filesystem::path criu_path;  // the program or its directory; empty: the one in PATH
  std::string runc;                 // empty: the one that the runtime was told, or in PATH
  bool leave_stopped = true;        // no process runs until it gets SIGCONT (replica_tasks.h)
  bool lock_network = true;         // network/netlock.h, before the container has an address
  bool tcp_established = true;
  bool ext_unix_sk = true;
  bool file_locks = true;
  bool shell_job = false;
  // After it the restore is killed. Zero: limits::kRestoreTimeout and the time to read the image.
  std::chrono::milliseconds timeout{0};
  // What leads relayed traffic in (network/relay_plan.h), set up before the sockets are restored,
  // which need their addresses. Empty: nothing.
  std::string network_plan;
  std::vector<std::string> criu_config_extra;  // lines for CRIU's configuration file

  bool operator==(const RestoreTicket&) const = default;
};

struct RestoreResult {
  bool ok = false;
  std::string error;      // one line; empty if ok
  double restore_ms = 0;  // of runc and CRIU, Docker's own hooks included
};

Result<> WriteTicket(const std::filesystem::path& state_dir, std::string_view container_id,
                     const RestoreTicket& ticket);
// Everything that carries the container's id, also of a ticket that was used. Idempotent.
Result<> RemoveTicket(const std::filesystem::path& state_dir, std::string_view container_id);

// kNotFound before the restore has ended.
Result<RestoreResult> ReadRestoreResult(const std::filesystem::path& state_dir,
                                        std::string_view container_id);
// Why the last restore failed; empty if it did not, or is not known to have.
std::string RestoreFailure(const std::filesystem::path& state_dir, std::string_view container_id);

// For the runtime. TakeTicket renames it, so that it cannot be used twice; nullopt without one.
Result<std::optional<RestoreTicket>> TakeTicket(const std::filesystem::path& state_dir,
                                                std::string_view container_id);
Result<> WriteRestoreResult(const std::filesystem::path& state_dir, std::string_view container_id,
                            const RestoreResult& result);
std::filesystem::path UsedTicketPath(const std::filesystem::path& state_dir,
                                     std::string_view container_id);

// For tests: what a ticket is in the file.
std::string TicketToJson(const RestoreTicket& ticket);
Result<RestoreTicket> TicketFromJson(std::string_view text);

}  // namespace migrate
