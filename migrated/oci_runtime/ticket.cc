#include "migrated/oci_runtime/ticket.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMaxTicketBytes = 16 * 1024 * 1024;

// The id becomes a file name: what containerd allows as an id, which has no slash.
Result<> CheckId(std::string_view id) {
  const bool fine = !id.empty() && id.size() <= 128 && id.front() != '.' &&
                    std::all_of(id.begin(), id.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
                    });
  return fine ? Result<>()
              : MakeError(ErrorCode::kInvalidArgument, "not a container id: " + std::string(id));
}

Result<fs::path> TicketPath(const fs::path& state_dir, std::string_view id,
                            std::string_view suffix) {
  TRY(CheckId(id));
  return state_dir / "tickets" / (std::string(id) + std::string(suffix));
}

Result<> CheckTicket(const RestoreTicket& ticket) {
  const auto bad = [](std::string what) {
    return MakeError(ErrorCode::kInvalidArgument, "restore ticket: " + std::move(what));
  };
  for (const fs::path* path : {&ticket.image_dir, &ticket.work_dir}) {
    if (!path->is_absolute()) {
      return bad("not an absolute path: '" + path->string() + "'");
    }
  }
  if (!ticket.criu_path.empty() && !ticket.criu_path.is_absolute()) {
    return bad("not an absolute path: '" + ticket.criu_path.string() + "'");
  }
  if (ticket.timeout.count() < 0) {
    return bad("negative time-out");
  }
  for (const std::string& line : ticket.criu_config_extra) {
    if (line.find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos) {
      return bad("line break in a line for CRIU's configuration");
    }
  }
  return {};
}

// exists() without exceptions.
bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

}  // namespace

std::string TicketToJson(const RestoreTicket& ticket) {
  return json{{"migration_id", ticket.migration_id},
              {"image_dir", ticket.image_dir.string()},
              {"work_dir", ticket.work_dir.string()},
              {"criu_path", ticket.criu_path.string()},
              {"runc", ticket.runc},
              {"leave_stopped", ticket.leave_stopped},
              {"lock_network", ticket.lock_network},
              {"tcp_established", ticket.tcp_established},
              {"ext_unix_sk", ticket.ext_unix_sk},
              {"file_locks", ticket.file_locks},
              {"shell_job", ticket.shell_job},
              {"timeout_ms", ticket.timeout.count()},
              {"network_plan", ticket.network_plan},
              {"criu_config_extra", ticket.criu_config_extra}}
             .dump(2, ' ', false, json::error_handler_t::replace) +
         "\n";
}

Result<RestoreTicket> TicketFromJson(std::string_view text) {
  RestoreTicket ticket;
  try {
    const json fields = json::parse(text);
    ticket.migration_id = fields.at("migration_id").get<std::string>();
    ticket.image_dir = fields.at("image_dir").get<std::string>();
    ticket.work_dir = fields.at("work_dir").get<std::string>();
    ticket.criu_path = fields.at("criu_path").get<std::string>();
    ticket.runc = fields.at("runc").get<std::string>();
    ticket.leave_stopped = fields.at("leave_stopped").get<bool>();
    ticket.lock_network = fields.at("lock_network").get<bool>();
    ticket.tcp_established = fields.at("tcp_established").get<bool>();
    ticket.ext_unix_sk = fields.at("ext_unix_sk").get<bool>();
    ticket.file_locks = fields.at("file_locks").get<bool>();
    ticket.shell_job = fields.at("shell_job").get<bool>();
    ticket.network_plan = fields.at("network_plan").get<std::string>();
    ticket.timeout = std::chrono::milliseconds(fields.at("timeout_ms").get<std::int64_t>());
    ticket.criu_config_extra = fields.at("criu_config_extra").get<std::vector<std::string>>();
  } catch (const json::exception& error) {
    return MakeError(ErrorCode::kInvalidArgument, std::string("restore ticket: ") + error.what());
  }
  TRY(CheckTicket(ticket));
  return ticket;
}

Result<> WriteTicket(const fs::path& state_dir, std::string_view container_id,
                     const RestoreTicket& ticket) {
  TRY(CheckTicket(ticket));
  const fs::path path = TRY(TicketPath(state_dir, container_id, ".json"));
  TRY(RemoveTicket(state_dir, container_id));  // the result of an attempt before this one
  std::error_code error;
  if (fs::create_directories(path.parent_path(), error); error) {
    return ErrnoError("create " + path.parent_path().string(), error.value());
  }
  // Whoever can write here decides what root restores.
  fs::permissions(path.parent_path(), fs::perms::owner_all, error);
  return WriteFileAtomically(path, TicketToJson(ticket));
}

Result<> RemoveTicket(const fs::path& state_dir, std::string_view container_id) {
  for (const char* suffix : {".json", ".used", ".result.json", ".criu.conf"}) {
    const fs::path path = TRY(TicketPath(state_dir, container_id, suffix));
    std::error_code error;
    if (fs::remove(path, error); error) {
      return ErrnoError("remove " + path.string(), error.value());
    }
  }
  return {};
}

Result<RestoreResult> ReadRestoreResult(const fs::path& state_dir, std::string_view container_id) {
  const fs::path path = TRY(TicketPath(state_dir, container_id, ".result.json"));
  const std::string text = TRY(ReadSmallFile(path, kMaxTicketBytes));
  try {
    const json fields = json::parse(text);
    return RestoreResult{fields.at("ok").get<bool>(), fields.at("error").get<std::string>(),
                         fields.at("restore_ms").get<double>()};
  } catch (const json::exception& error) {
    return MakeError(ErrorCode::kInternal, path.string() + ": " + error.what());
  }
}

std::string RestoreFailure(const fs::path& state_dir, std::string_view container_id) {
  const auto result = ReadRestoreResult(state_dir, container_id);
  return result && !result->ok ? result->error : std::string();
}

fs::path UsedTicketPath(const fs::path& state_dir, std::string_view container_id) {
  return TicketPath(state_dir, container_id, ".used").value_or(fs::path());
}

Result<std::optional<RestoreTicket>> TakeTicket(const fs::path& state_dir,
                                                std::string_view container_id) {
  const auto path = TicketPath(state_dir, container_id, ".json");
  if (!path || !Exists(*path)) {
    return std::optional<RestoreTicket>();  // also an id that no ticket can have: runc's business
  }
  const fs::path used = UsedTicketPath(state_dir, container_id);
  if (std::rename(path->c_str(), used.c_str()) != 0) {
    return ErrnoError("rename " + path->string());
  }
  const std::string text = TRY(ReadSmallFile(used, kMaxTicketBytes));
  return std::optional(TRY(TicketFromJson(text)));
}

Result<> WriteRestoreResult(const fs::path& state_dir, std::string_view container_id,
                            const RestoreResult& result) {
  const fs::path path = TRY(TicketPath(state_dir, container_id, ".result.json"));
  const json fields{{"ok", result.ok}, {"error", result.error}, {"restore_ms", result.restore_ms}};
  return WriteFileAtomically(path,
                             fields.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace migrate
