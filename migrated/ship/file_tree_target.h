// TargetTree: the directory below which the receiver works. Every path is resolved beneath the root
// without following a symlink; the times of directories are put right at the end of a round. Owns
// the root's descriptor and that of the directory used last. One thread. Paths must be valid
// (IsTreePath); errors name them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/ship/file_tree_attributes.h"

namespace migrate {

class TargetTree {
 public:
  explicit TargetTree(OwnedFd root) : root_(std::move(root)) {}

  FdRef root() const { return root_; }

  struct Place {
    FdRef directory;   // valid until the next call
    std::string name;  // in it
  };
  Result<Place> Locate(std::string_view path);

  // Empty if nothing has this name.
  Result<std::optional<FileStat>> Stat(std::string_view path);

  // O_PATH of the entry itself.
  Result<OwnedFd> OpenEntry(std::string_view path);

  // `path` is about to be created, removed or replaced: its directory's time will be kept.
  Result<> Touch(std::string_view path);

  // Removes it with all below it; nothing to do if it is not there. Does not cross mounts.
  Result<> Remove(std::string_view path);

  // Paths named in a round, as digests: 16 bytes each. A collision would leave an old entry behind
  // or be taken for a doubled name; nobody gains from forging one.
  class Names {
   public:
    bool Insert(std::string_view path);  // false: was there
    bool Contains(std::string_view path) const;
    std::size_t size() const { return digests_.size(); }

   private:
    struct Digest {
      std::uint64_t low;
      std::uint64_t high;
      bool operator==(const Digest&) const = default;
    };
    struct Hash {
      std::size_t operator()(const Digest& digest) const { return digest.low; }
    };
    static Digest Of(std::string_view path);
    std::unordered_set<Digest, Hash> digests_;
  };
  // Everything below the root that is not in `names`; the number of subtrees.
  Result<std::uint64_t> RemoveUnnamed(const Names& names);

  // The time that the directory will have after the round.
  void SetDirectoryTime(std::string_view path, FileTime time);
  void ForgetDirectoryTimes() { times_.clear(); }
  Result<> ApplyDirectoryTimes();

 private:
  Result<FdRef> OpenDirectory(std::string_view path);
  // Empties one directory as far as possible; names of subdirectories that remain.
  Result<std::vector<std::string>> Empty(const std::string& path);

  OwnedFd root_;
  std::string cached_path_;
  OwnedFd cached_;
  std::unordered_map<std::string, FileTime> times_;
};

}  // namespace migrate
