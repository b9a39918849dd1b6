// `migrate log`: prints a recording from its directory. Needs no daemon.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/limits.h"
#include "cli/commands.h"
#include "cli/event_line.h"
#include "cli/log_stats.h"
#include "proto/event_log_reader.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

using Status = EventLogReader::Status;

constexpr const char* kLogFile = "events.log";

ExitCode Fail(ExitCode code, const std::string& text) {
  std::fflush(stdout);
  std::fprintf(stderr, "migrate: %s\n", text.c_str());
  return code;
}

// Stdout went away (a full disk; a closed pipe ends the program by its signal).
bool PutLine(const std::string& line) {
  return std::fwrite(line.data(), 1, line.size(), stdout) == line.size() &&
         std::fputc('\n', stdout) != EOF;
}

// Reads on until the end of the log or of the wanted part; kNeedMore: the log has no end (yet).
Result<Status> Print(const LogCommand& command, const LogFilter& filter, EventLogFile& file,
                     LogStats& stats) {
  for (;;) {
    const Status status = TRY(file.Next());
    if (status == Status::kNeedMore && command.follow) {
      std::fflush(stdout);
      std::this_thread::sleep_for(limits::kLogFollowPause);
      continue;
    }
    if (status != Status::kEvent) {
      return status;
    }
    const Event& event = file.event();
    if (event.lsn > filter.to) {
      return Status::kEnd;
    }
    if (!filter.Matches(event)) {
      continue;
    }
    if (command.stats) {
      stats.Add(event);
    } else if (!PutLine(command.json ? EventJsonLine(event, command.string_size)
                                     : EventLine(event, command.string_size))) {
      return ErrnoError("write to standard output");
    }
  }
}

}  // namespace

ExitCode RunLog(const LogCommand& command) {
  LogFilter filter{.task = command.task, .from = command.from, .to = command.to};
  if (!command.syscall.empty()) {
    const SyscallRow* row = FindSyscall(command.syscall);
    if (row == nullptr) {
      return Fail(ExitCode::kUsage, command.syscall + ": no such syscall");
    }
    filter.syscall = row->number;
  }
  const std::filesystem::path path = std::filesystem::path(command.directory) / kLogFile;
  auto file = EventLogFile::Open(path);
  if (!file) {
    return Fail(ExitCode::kUsage, file.error().message + "; is this the directory of a recording?");
  }
  LogStats stats;
  const auto status = Print(command, filter, *file, stats);
  if (!status) {
    return Fail(ExitCode::kInternal, status.error().message);
  }
  const EventLogReader& reader = file->reader();
  if (command.stats) {
    std::fputs(command.json ? (stats.Json(reader).dump(2) + "\n").c_str()
                            : stats.Text(reader).c_str(),
               stdout);
  }
  if (*status == Status::kCorrupt) {
    return Fail(ExitCode::kInternal, path.string() + ": " + reader.corruption().Text());
  }
  if (*status == Status::kNeedMore) {
    std::fprintf(stderr, "migrate: the log has no end after LSN %llu%s: it is being recorded, or was cut "
                 "off\n",
                 static_cast<unsigned long long>(reader.next_lsn()),
                 reader.between_chunks() ? "" : " (in the middle of a chunk)");
  }
  return std::fflush(stdout) == 0 ? ExitCode::kMoved
                                  : Fail(ExitCode::kInternal, "cannot write to standard output");
}

}  // namespace migrate
