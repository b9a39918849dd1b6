// What one entry of a tree is (FileStat) and the attributes that travel with it. Entries are always
// held by an O_PATH descriptor, never by name, so that nothing can be swapped in between. Needs
// /proc. Thread-safe: no state.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"
#include "proto/file_tree.pb.h"

namespace migrate {

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};

struct FileTime {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  auto operator<=>(const FileTime&) const = default;
};

struct FileStat {
  FileId id;
  std::uint64_t mount = 0;  // mount id, or the device where the kernel has no mount ids
  unsigned mode = 0;        // with the type bits
  uid_t uid = 0;
  gid_t gid = 0;
  unsigned links = 1;
  dev_t device_number = 0;
  std::uint64_t size = 0;
  FileTime ctime;
  FileTime mtime;
  bool operator==(const FileStat&) const = default;

  unsigned type() const { return mode & S_IFMT; }
  bool is_directory() const { return S_ISDIR(mode); }
  bool is_regular() const { return S_ISREG(mode); }
};

// Of `name` in `directory` without following a symlink; with an empty name, of the descriptor
// itself. errno is set when there is none.
std::optional<FileStat> StatEntry(FdRef directory, const char* name);

v1::TreeEntryType TreeTypeOf(unsigned mode);
// The S_IF* bits, or 0 for an unknown type.
unsigned ModeOf(v1::TreeEntryType type);

// "/proc/self/fd/N": the object of an O_PATH descriptor for calls that only take a path.
std::string DescriptorPath(FdRef fd);

// Reads the xattrs of `entry` and puts everything into `attributes`. `skip` names xattrs that stay
// behind.
Result<> ReadAttributes(FdRef entry, const FileStat& stat, const std::set<std::string>& skip,
                        std::string_view path, v1::TreeAttributes& attributes);

// Only the namespaces that we carry, and within the limits.
Result<> ValidateAttributes(const v1::TreeAttributes& attributes, std::string_view path);

// Owner, xattrs (those not named are removed), mode; and mtime if `with_time`. In the order in
// which none undoes another.
Result<> ApplyAttributes(FdRef entry, unsigned type, const v1::TreeAttributes& attributes,
                         bool with_time, std::string_view path);

Result<> SetModificationTime(FdRef entry, FileTime time, std::string_view path);

}  // namespace migrate
