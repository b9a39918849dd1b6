#include "migrated/ship/file_tree_path.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/limits.h"
#include "migrated/ship/file_tree.h"

namespace migrate {

bool IsTreePath(std::string_view path) {
  // The kernel counts the terminating NUL.
  if (path.empty() || path.size() >= limits::kMaxPathBytes ||
      path.find('\0') != std::string_view::npos) {
    return false;
  }
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (name.empty() || name == "." || name == ".." || name.size() > limits::kMaxNameBytes) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

std::string ShownPath(std::string_view path) {
  if (path.empty()) {
    return ".";
  }
  std::string shown(path.substr(0, limits::kMaxPathBytes));
  std::replace_if(
      shown.begin(), shown.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return shown;
}

std::string JoinTreePath(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty()) {
    path += '/';
  }
  path += name;
  return path;
}

std::pair<std::string_view, std::string_view> SplitTreePath(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) {
    return {{}, path};
  }
  return {path.substr(0, slash), path.substr(slash + 1)};
}

Error TreeErrno(std::string_view what, std::string_view path, int error_number) {
  if (error_number == ENOSPC || error_number == EDQUOT) {
    return MakeError(ErrorCode::kResourceExhausted,
                     "no space left on target for " + ShownPath(path));
  }
  return ErrnoError(std::string(what) + " " + ShownPath(path), error_number);
}

Error TreeError(ErrorCode code, std::string_view path, std::string_view what) {
  return MakeError(code, ShownPath(path) + ": " + std::string(what));
}

OwnedFd OpenBeneath(FdRef root, std::string_view path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const std::string name(path.empty() ? "." : path);
  // EAGAIN: something below the root was renamed meanwhile, and the kernel cannot prove that the
  // lookup stayed beneath it.
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root.get(), name.c_str(), &how, sizeof(how));
    if (fd >= 0 || errno != EAGAIN || attempt == 100) {
      return OwnedFd(static_cast<int>(fd));
    }
  }
}

Result<std::vector<std::string>> ListNames(FdRef directory, std::string_view path) {
  // A descriptor of its own: fdopendir takes it, and the position in it is shared.
  OwnedFd fd(::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    return TreeErrno("open directory", path);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) {
    return TreeErrno("read directory", path);
  }
  (void)fd.release();
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) {
      break;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
    if (names.size() > limits::kMaxTreeEntries) {
      return TreeError(ErrorCode::kResourceExhausted, path, "too many entries in one directory");
    }
  }
  if (errno != 0) {
    return TreeErrno("read directory", path);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace migrate
