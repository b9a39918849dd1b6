// FileTreeSender: one directory tree on the source, sent in rounds. The first round carries all of
// it, each further one the difference to what the receiver got before: a walk of stat calls, and
// content, block by block, only of what changed.
//
// Owns the root's descriptor and the index of what was sent (bounded: limits.h and file_tree.h;
// about 300 bytes per entry and 24 per block). One thread at a time. Failure: an error of any round
// voids the index, and the next round is a full one again. A container may change the tree at any
// time: what vanishes or shrinks under the walk is left to the next round, and is an error only in
// the final one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/ship/byte_stream.h"
#include "migrated/ship/file_tree.h"
#include "migrated/ship/file_tree_attributes.h"

namespace migrate {

struct FileTreeSenderOptions {
  // Relative paths that stay behind, with all below them. The receiver's full round removes them.
  std::vector<std::string> excludes = {};
  std::set<std::string> skip_xattrs = {};  // exact names
  // False: a mounted directory is sent empty, a mounted file not at all.
  bool cross_mounts = false;
  // An entry whose ctime is younger than this when it is read may change again without a new
  // ctime: it is compared once more in the next round. Seconds are used instead where the
  // filesystem seems to keep whole seconds only.
  std::chrono::milliseconds racy_margin{100};
  std::size_t max_entries = limits::kMaxTreeEntries;
  std::size_t max_index_blocks = limits::kMaxTreeIndexBlocks;
  TreeProgress progress = {};
};

// Files whose content is compared though their ctime has not moved: those that a process has mapped
// shared and writable. Ids are those of this tree's own filesystem; what /proc/PID/maps says of a
// file on overlayfs may be another pair: use the path then.
struct AlwaysCompare {
  std::set<FileId> ids = {};
  std::set<std::string> paths = {};  // relative to the root

  bool contains(const FileId& id, const std::string& path) const {
    return ids.contains(id) || paths.contains(path);
  }
};

struct RoundOptions {
  bool final = false;
  AlwaysCompare always_compare = {};
  // The receiver reads and compares the blocks of a changed file that have not changed, while this
  // side reads them too. False trusts the target's disk.
  bool verify_unchanged = true;
  std::stop_token stop = {};
};

struct FollowOptions {
  std::vector<std::string> patterns = {"pages-*.img"};  // fnmatch, names in the root directory
  std::function<bool()> finished = {};                  // the producer will append no more
  std::stop_token stop = {};
};

class FileTreeSender {
 public:
  FileTreeSender(OwnedFd root, FileTreeSenderOptions options);
  ~FileTreeSender();
  FileTreeSender(const FileTreeSender&) = delete;
  FileTreeSender& operator=(const FileTreeSender&) = delete;

  // One round onto `sink`, which may be another one each time; does not call Finish().
  Result<RoundStats> SendRound(ByteSink& sink, const RoundOptions& options);

  // A round of another kind: sends the files that match and what is appended to them until
  // `finished` says so. Files must be append-only: the next SendRound sends what is missing at
  // their end without reading what was sent. ReceiveRound takes it like any round.
  Result<RoundStats> SendAppendedFiles(ByteSink& sink, const FollowOptions& options);

 private:
  class Round;
  struct FileState;
  struct Node;

  // Runs `body` between begin and end messages; voids the index if it fails.
  Result<RoundStats> RunRound(ByteSink& sink, const RoundOptions& options,
                              const std::function<Result<>(Round&)>& body);
  Result<> Follow(Round& round, const FollowOptions& options);
  Result<bool> FollowOnce(Round& round, const FollowOptions& options);
  Result<bool> SendGrowth(Round& round, const std::string& name, const FileStat& stat);
  void Reset();

  OwnedFd root_;
  const FileTreeSenderOptions options_;
  std::size_t index_entries_ = 0;  // Nodes
  std::size_t index_blocks_ = 0;   // BlockStates
  std::unique_ptr<Node> index_;    // null: nothing is known of the receiver; uses the counters
  std::uint64_t stream_id_ = 0;
  std::uint64_t round_ = 0;
};

}  // namespace migrate
