// Paths inside a tree: what is a valid one, how it is shown, how it is opened without ever leaving
// the root. Paths come from the other host (receiver) or from a container (sender): both are
// hostile. Thread-safe: no state.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

// Relative, '/'-separated, no empty, "." or ".." component, no NUL, within the length limits.
bool IsTreePath(std::string_view path);

// For messages: "." for the root; control characters, which file names may hold, become '?'.
std::string ShownPath(std::string_view path);

std::string JoinTreePath(std::string_view directory, std::string_view name);

// "a/b/c" -> ("a/b", "c"); "c" -> ("", "c").
std::pair<std::string_view, std::string_view> SplitTreePath(std::string_view path);

// "<what> <path>: <cause>"; no space left has a message of its own.
Error TreeErrno(std::string_view what, std::string_view path, int error_number = errno);
Error TreeError(ErrorCode code, std::string_view path, std::string_view what);

// open() below `root` that follows no symlink at any component ("" is the root itself); errno is
// set when the descriptor is empty.
OwnedFd OpenBeneath(FdRef root, std::string_view path, int flags);

// The names in a directory but "." and "..", sorted by bytes.
Result<std::vector<std::string>> ListNames(FdRef directory, std::string_view path);

}  // namespace migrate
