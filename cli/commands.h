// One function per command of `migrate`; each prints its result and returns the exit code.
#pragma once

#include <signal.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "cli/client.h"
#include "cli/exit_code.h"
#include "cli/render.h"
#include "proto/control.pb.h"

namespace migrate {

struct OutputOptions {
  bool json = false;
  ProgressStyle progress = ProgressStyle::kPlain;
};

struct MoveCommand {
  std::string container;
  std::string target;
  std::string request_id;
  bool detach = false;
  bool dry_run = false;
  v1::MigrationOptions options;
};

struct RecordCommand {
  v1::RecordRequest request;
};
ExitCode RunRecord(const Client& client, const RecordCommand& command,
                   const OutputOptions& output);

ExitCode RunMove(const Client& client, const MoveCommand& command, const OutputOptions& output);
ExitCode RunPreflight(const Client& client, const MoveCommand& command,
                      const OutputOptions& output);
// An empty id: the whole host at a glance, or, to be watched, the newest migration.
ExitCode RunStatus(const Client& client, std::string id, bool watch, const OutputOptions& output);
ExitCode RunList(const Client& client, bool active_only, const OutputOptions& output);
ExitCode RunAbort(const Client& client, const std::string& id, const OutputOptions& output);
ExitCode RunGc(const Client& client, bool remove, bool moved, const OutputOptions& output);
ExitCode RunRelayList(const Client& client, const OutputOptions& output);
ExitCode RunRelayRemove(const Client& client, const v1::RemoveRelayRequest& request,
                        const OutputOptions& output);
// Without a verdict: the same as status.
ExitCode RunResolve(const Client& client, const v1::ResolveMigrationRequest& request,
                    const OutputOptions& output);
ExitCode RunNode(const Client& client, const OutputOptions& output);

struct LogCommand {
  std::string directory;  // of a recording
  bool follow = false;
  bool stats = false;
  bool json = false;
  std::optional<std::uint32_t> task = {};
  std::string syscall;  // empty: all
  std::uint64_t from = 0;
  std::uint64_t to = std::numeric_limits<std::uint64_t>::max();
  std::size_t string_size = 32;
};
ExitCode RunLog(const LogCommand& command);
// Empty: to standard output.
ExitCode RunSeccompProfile(const std::string& out);

// SIGINT and SIGTERM wait for WatchToEnd, also in the threads that gRPC starts later: one that does
// not block them would take them. Call it before the first use of gRPC.
sigset_t BlockInterrupts();

// Follows a migration to its end, or until Ctrl-C. For who started it the first Ctrl-C aborts and
// the second detaches, and a migration in doubt is an end: that may last until a human comes. Who
// only watches detaches with the first, and goes on watching a doubt.
enum class Watcher { kStarter, kSpectator };
ExitCode WatchToEnd(const Client& client, const v1::Migration& started, Watcher watcher,
                    const OutputOptions& output);

}  // namespace migrate
