#include "migrated/ship/file_tree_target.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "migrated/ship/file_tree_path.h"

namespace migrate {

Result<FdRef> TargetTree::OpenDirectory(std::string_view path) {
  if (path.empty()) {
    return root_.ref();
  }
  if (!cached_ || cached_path_ != path) {
    OwnedFd fd = OpenBeneath(root_, path, O_RDONLY | O_DIRECTORY);
    if (!fd) {
      return TreeErrno("open directory", path);
    }
    cached_ = std::move(fd);
    cached_path_ = path;
  }
  return cached_.ref();
}

Result<TargetTree::Place> TargetTree::Locate(std::string_view path) {
  const auto [directory, name] = SplitTreePath(path);
  return Place{TRY(OpenDirectory(directory)), std::string(name)};
}

Result<std::optional<FileStat>> TargetTree::Stat(std::string_view path) {
  const Place place = TRY(Locate(path));
  const std::optional<FileStat> stat = StatEntry(place.directory, place.name.c_str());
  if (!stat && errno != ENOENT) {
    return TreeErrno("stat", path);
  }
  return stat;
}

Result<OwnedFd> TargetTree::OpenEntry(std::string_view path) {
  const Place place = TRY(Locate(path));
  OwnedFd fd(::openat(place.directory.get(), place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    return TreeErrno("open", path);
  }
  return fd;
}

Result<> TargetTree::Touch(std::string_view path) {
  std::string directory(SplitTreePath(path).first);
  if (times_.contains(directory)) {
    return {};
  }
  const FdRef fd = TRY(OpenDirectory(directory));
  const auto stat = StatEntry(fd, "");
  if (!stat) {
    return TreeErrno("stat", directory);
  }
  times_.emplace(std::move(directory), stat->mtime);
  return {};
}

Result<> TargetTree::Remove(std::string_view path) {
  const Place place = TRY(Locate(path));
  if (::unlinkat(place.directory.get(), place.name.c_str(), 0) == 0 || errno == ENOENT) {
    return {};
  }
  if (errno != EISDIR) {
    return TreeErrno("remove", path);
  }
  // No descriptor is held per level: the tree may be deep.
  std::vector<std::string> directories{std::string(path)};
  while (!directories.empty()) {
    const std::string current = directories.back();
    const std::vector<std::string> left = TRY(Empty(current));
    for (const std::string& name : left) {
      directories.push_back(JoinTreePath(current, name));
    }
    if (left.empty()) {
      const Place at = TRY(Locate(current));
      if (::unlinkat(at.directory.get(), at.name.c_str(), AT_REMOVEDIR) != 0) {
        return TreeErrno("remove directory", current);
      }
      times_.erase(current);
      directories.pop_back();
    }
  }
  cached_.reset();  // may have been below
  return {};
}

Result<std::vector<std::string>> TargetTree::Empty(const std::string& path) {
  const FdRef directory = TRY(OpenDirectory(path));
  std::vector<std::string> names = TRY(ListNames(directory, path));
  std::vector<std::string> left;
  for (std::string& name : names) {
    if (::unlinkat(directory.get(), name.c_str(), 0) == 0) {
      continue;
    }
    if (errno != EISDIR) {
      return TreeErrno("remove", JoinTreePath(path, name));
    }
    left.push_back(std::move(name));
  }
  return left;
}

TargetTree::Names::Digest TargetTree::Names::Of(std::string_view path) {
  const XXH128_hash_t hash = XXH3_128bits(path.data(), path.size());
  return {hash.low64, hash.high64};
}

bool TargetTree::Names::Insert(std::string_view path) { return digests_.insert(Of(path)).second; }

bool TargetTree::Names::Contains(std::string_view path) const {
  return digests_.contains(Of(path));
}

Result<std::uint64_t> TargetTree::RemoveUnnamed(const Names& names) {
  std::uint64_t removed = 0;
  std::vector<std::string> directories{""};
  while (!directories.empty()) {
    const std::string directory = std::move(directories.back());
    directories.pop_back();
    const FdRef fd = TRY(OpenDirectory(directory));
    const std::vector<std::string> entries = TRY(ListNames(fd, directory));
    for (const std::string& name : entries) {
      const std::string path = JoinTreePath(directory, name);
      if (!names.Contains(path)) {
        TRY(Touch(path));
        TRY(Remove(path));
        ++removed;
        continue;
      }
      const std::optional<FileStat> stat = TRY(Stat(path));
      if (stat && stat->is_directory()) {
        directories.push_back(path);
      }
    }
  }
  return removed;
}

void TargetTree::SetDirectoryTime(std::string_view path, FileTime time) {
  times_.insert_or_assign(std::string(path), time);
}

Result<> TargetTree::ApplyDirectoryTimes() {
  for (const auto& [path, time] : times_) {
    const OwnedFd fd = OpenBeneath(root_, path, O_PATH | O_DIRECTORY);
    if (!fd) {
      return TreeErrno("open directory", path);
    }
    TRY(SetModificationTime(fd, time, path));
  }
  times_.clear();
  return {};
}

}  // namespace migrate
