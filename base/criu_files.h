// CRIU's files: the program, and what it leaves behind: the log (for the reason of a failure),
// the statistics of a dump, and which processes were stopped when they were dumped. Images are
// protobuf; the handful of fields that matter here are read from the wire format, so that CRIU's
// proto files are not needed. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace migrate {

struct CriuDumpStats {
  std::chrono::microseconds freezing_time{};
  std::chrono::microseconds frozen_time{};
  std::chrono::microseconds memdump_time{};
  std::chrono::microseconds memwrite_time{};
  std::uint64_t pages_scanned = 0;
  std::uint64_t pages_written = 0;
  std::uint64_t shared_pages_written = 0;  // of shared memory and memfds, apart from the above

  bool operator==(const CriuDumpStats&) const = default;
};

Result<CriuDumpStats> ReadCriuDumpStats(const std::filesystem::path& work_dir);  // stats-dump

// The processes, by their id inside the container, that were stopped (SIGSTOP, terminal) at the
// checkpoint and must stay so after the restore.
Result<std::vector<int>> ReadStoppedProcesses(const std::filesystem::path& image_dir);

// A process that is stopped and frozen by the v1 freezer cannot be dumped as stopped (see
// recorder/checkpoint.h); the recorder names such processes in a file of its own in the image
// directory, which ReadStoppedProcesses merges.
Result<> WriteStoppedProcesses(const std::filesystem::path& image_dir,
                               const std::vector<int>& processes);

// kDataLoss if memory pages are missing from the image: CRIU 4.2 then does not fail, it loops for
// ever and fills the disk with its log.
Result<> CheckImagePages(const std::filesystem::path& image_dir);

// One line for the operator from dump.log or restore.log: the first error that is a cause rather
// than a consequence, with the process. Empty if the log has no error.
std::string CondenseCriuLog(std::string_view log);
std::string CondenseCriuLogFile(const std::filesystem::path& log);  // of any length

// The directory that must stand first in PATH so that runc finds the right `criu`. `configured` is
// that directory, or the program in it; empty stands for the criu in PATH, and the result is empty.
Result<std::filesystem::path> CriuDirectory(const std::filesystem::path& configured);

}  // namespace migrate
