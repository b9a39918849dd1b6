// Small files as strings: /proc, /sys, configuration. Not for container data. Thread-safe.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

Result<OwnedFd> OpenFile(const std::filesystem::path& path, int flags, unsigned mode = 0600);

// At most `limit` bytes; a longer file is an error.
Result<std::string> ReadSmallFile(const std::filesystem::path& path,
                                  std::size_t limit = 16 * 1024 * 1024);

// One write() to an existing file: what cgroup and sysctl files want.
Result<> WriteControlFile(const std::filesystem::path& path, std::string_view text);

// Replaces `path` so that a crash leaves the old or the new content: temporary file, fsync, rename.
Result<> WriteFileAtomically(const std::filesystem::path& path, std::string_view text,
                             unsigned mode = 0600);

Result<> WriteFully(FdRef fd, const void* data, std::size_t size);

}  // namespace migrate
