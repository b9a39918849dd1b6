#include "migrated/ship/file_tree_attributes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/limits.h"
#include "migrated/ship/file_tree.h"
#include "migrated/ship/file_tree_path.h"

namespace migrate {
namespace {

constexpr unsigned kPermissionBits = 07777;

struct TypeRow {
  v1::TreeEntryType type;
  unsigned mode;
};

constexpr std::array<TypeRow, 7> kTypes = {{
    {v1::TREE_ENTRY_TYPE_REGULAR, S_IFREG},
    {v1::TREE_ENTRY_TYPE_DIRECTORY, S_IFDIR},
    {v1::TREE_ENTRY_TYPE_SYMLINK, S_IFLNK},
    {v1::TREE_ENTRY_TYPE_FIFO, S_IFIFO},
    {v1::TREE_ENTRY_TYPE_SOCKET, S_IFSOCK},
    {v1::TREE_ENTRY_TYPE_CHAR_DEVICE, S_IFCHR},
    {v1::TREE_ENTRY_TYPE_BLOCK_DEVICE, S_IFBLK},
}};

// Others (btrfs., system.nfs4_acl ...) belong to one filesystem and cannot be set on another.
bool IsCarriedXattr(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("trusted.") ||
         name.starts_with("security.") || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

// The NUL-separated list as a set. Filesystems without xattrs have none.
Result<std::set<std::string>> ListXattrs(const std::string& object, std::string_view path) {
  std::string list(1024, '\0');
  ssize_t size;
  while ((size = ::listxattr(object.c_str(), list.data(), list.size())) < 0 && errno == ERANGE) {
    list.resize(list.size() * 4);
  }
  if (size < 0 && errno != ENOTSUP) {
    return TreeErrno("list attributes of", path);
  }
  std::set<std::string> names;
  for (ssize_t at = 0; at < size;) {
    std::string name(list.c_str() + at);
    at += static_cast<ssize_t>(name.size()) + 1;
    if (IsCarriedXattr(name)) {
      names.insert(std::move(name));
    }
  }
  return names;
}

// Empty if it is gone.
Result<std::optional<std::string>> GetXattr(const std::string& object, const std::string& name,
                                            std::string_view path) {
  std::string value(256, '\0');
  ssize_t size;
  while ((size = ::getxattr(object.c_str(), name.c_str(), value.data(), value.size())) < 0 &&
         errno == ERANGE && value.size() <= limits::kMaxXattrBytes) {
    value.resize(value.size() * 4);
  }
  if (size < 0) {
    if (errno == ENODATA) {
      return std::optional<std::string>();
    }
    return TreeErrno("read attribute " + ShownPath(name) + " of", path);
  }
  value.resize(static_cast<std::size_t>(size));
  return std::optional<std::string>(std::move(value));
}

Result<> ApplyXattrs(const std::string& object, const v1::TreeAttributes& attributes,
                     std::string_view path) {
  std::set<std::string> extraneous = TRY(ListXattrs(object, path));
  for (const v1::TreeXattr& xattr : attributes.xattrs()) {
    if (extraneous.erase(xattr.name()) > 0) {
      const auto old = TRY(GetXattr(object, xattr.name(), path));
      if (old == xattr.value()) {
        continue;
      }
    }
    if (::setxattr(object.c_str(), xattr.name().c_str(), xattr.value().data(), xattr.value().size(),
                   0) != 0) {
      return TreeErrno("set attribute " + ShownPath(xattr.name()) + " of", path);
    }
  }
  for (const std::string& name : extraneous) {
    if (::removexattr(object.c_str(), name.c_str()) != 0 && errno != ENODATA) {
      return TreeErrno("remove attribute " + ShownPath(name) + " of", path);
    }
  }
  return {};
}

}  // namespace

std::optional<FileStat> StatEntry(FdRef directory, const char* name) {
  struct statx raw;
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);
  if (::statx(directory.get(), name, flags, STATX_BASIC_STATS | STATX_MNT_ID, &raw) != 0) {
    return std::nullopt;
  }
  FileStat stat;
  stat.id = {makedev(raw.stx_dev_major, raw.stx_dev_minor), raw.stx_ino};
  stat.mount = (raw.stx_mask & STATX_MNT_ID) != 0 ? raw.stx_mnt_id : stat.id.device;
  stat.mode = raw.stx_mode;
  stat.uid = raw.stx_uid;
  stat.gid = raw.stx_gid;
  stat.links = raw.stx_nlink;
  stat.device_number = makedev(raw.stx_rdev_major, raw.stx_rdev_minor);
  stat.size = raw.stx_size;
  stat.ctime = {raw.stx_ctime.tv_sec, raw.stx_ctime.tv_nsec};
  stat.mtime = {raw.stx_mtime.tv_sec, raw.stx_mtime.tv_nsec};
  return stat;
}

v1::TreeEntryType TreeTypeOf(unsigned mode) {
  for (const TypeRow& row : kTypes) {
    if (row.mode == (mode & S_IFMT)) {
      return row.type;
    }
  }
  return v1::TREE_ENTRY_TYPE_UNSPECIFIED;
}

unsigned ModeOf(v1::TreeEntryType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) {
      return row.mode;
    }
  }
  return 0;
}

std::string DescriptorPath(FdRef fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

Result<> ReadAttributes(FdRef entry, const FileStat& stat, const std::set<std::string>& skip,
                        std::string_view path, v1::TreeAttributes& attributes) {
  attributes.Clear();
  attributes.set_mode(stat.mode & kPermissionBits);
  attributes.set_uid(stat.uid);
  attributes.set_gid(stat.gid);
  attributes.set_mtime_seconds(stat.mtime.seconds);
  attributes.set_mtime_nanoseconds(stat.mtime.nanoseconds);
  const std::string object = DescriptorPath(entry);
  const std::set<std::string> names = TRY(ListXattrs(object, path));
  for (const std::string& name : names) {
    if (skip.contains(name)) {
      continue;
    }
    std::optional<std::string> value = TRY(GetXattr(object, name, path));
    if (value) {
      v1::TreeXattr& xattr = *attributes.add_xattrs();
      xattr.set_name(name);
      xattr.set_value(std::move(*value));
    }
  }
  return ValidateAttributes(attributes, path);
}

Result<> ValidateAttributes(const v1::TreeAttributes& attributes, std::string_view path) {
  if (attributes.mode() > kPermissionBits || attributes.mtime_nanoseconds() >= 1'000'000'000) {
    return TreeError(ErrorCode::kInvalidArgument, path, "invalid mode or time");
  }
  if (static_cast<std::size_t>(attributes.xattrs_size()) > limits::kMaxXattrsPerEntry) {
    return TreeError(ErrorCode::kResourceExhausted, path, "too many extended attributes");
  }
  std::size_t total = 0;
  for (const v1::TreeXattr& xattr : attributes.xattrs()) {
    if (xattr.name().size() > limits::kMaxNameBytes || !IsCarriedXattr(xattr.name()) ||
        xattr.name().find('\0') != std::string::npos) {
      return TreeError(ErrorCode::kInvalidArgument, path, "invalid name of an extended attribute");
    }
    total += xattr.name().size() + xattr.value().size();
    if (xattr.value().size() > limits::kMaxXattrBytes || total > limits::kMaxTreeXattrTotalBytes) {
      return TreeError(ErrorCode::kResourceExhausted, path, "extended attributes too large");
    }
  }
  return {};
}

Result<> ApplyAttributes(FdRef entry, unsigned type, const v1::TreeAttributes& attributes,
                         bool with_time, std::string_view path) {
  // chown clears setuid, setgid and security.capability; setting an ACL changes the mode; mode
  // last.
  if (::fchownat(entry.get(), "", attributes.uid(), attributes.gid(), AT_EMPTY_PATH) != 0) {
    return TreeErrno("set the owner of", path);
  }
  const std::string object = DescriptorPath(entry);
  TRY(ApplyXattrs(object, attributes, path));
  if (type != S_IFLNK && ::chmod(object.c_str(), attributes.mode()) != 0) {
    return TreeErrno("set the mode of", path);
  }
  if (with_time) {
    TRY(SetModificationTime(entry, {attributes.mtime_seconds(), attributes.mtime_nanoseconds()},
                            path));
  }
  return {};
}

Result<> SetModificationTime(FdRef entry, FileTime time, std::string_view path) {
  const timespec times[2] = {{0, UTIME_OMIT}, {time.seconds, static_cast<long>(time.nanoseconds)}};
  if (::utimensat(AT_FDCWD, DescriptorPath(entry).c_str(), times, 0) != 0) {
    return TreeErrno("set the time of", path);
  }
  return {};
}

}  // namespace migrate
