// What FileTreeSender remembers of the receiver's tree, and one round over it. Internal to the
// sender. One thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "migrated/ship/file_tree_content.h"
#include "migrated/ship/file_tree_sender.h"

namespace migrate {

// What the receiver holds of one file. Names that are hard links of one another share it, here as
// there: a new inode over there is a new FileState here.
struct FileTreeSender::FileState {
  FileStat stat;  // as it was before its content was read
  XXH128_hash_t attributes = {};
  std::uint64_t special = 0;  // symlink target (hash) or device number
  bool racy = false;          // compare again though the stat may be the same
  ContentBase content = {};
  std::size_t* block_counter = nullptr;

  ~FileState() { SetContent({}); }
  void SetContent(ContentBase next) {
    if (block_counter != nullptr) {
      *block_counter = *block_counter - content.blocks.size() + next.blocks.size();
    }
    content = std::move(next);
  }
};

struct FileTreeSender::Node {
  using Children = std::map<std::string, std::unique_ptr<Node>, std::less<>>;

  explicit Node(std::size_t& node_counter) : counter(node_counter) { ++counter; }
  ~Node() { --counter; }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  std::size_t& counter;
  std::shared_ptr<FileState> state;    // null: never sent
  std::unique_ptr<Children> children;  // of a directory
};

class FileTreeSender::Round {
 public:
  Round(FileTreeSender& sender, ByteSink& sink, const RoundOptions& options);

  Result<> Begin(bool full);
  Result<> SendTree();
  Result<RoundStats> End();

  FrameWriter& writer() { return writer_; }
  RoundStats& stats() { return stats_; }

 private:
  struct Pending {
    std::string path;
    Node* node;
  };
  // An entry that differs from the index, held open.
  struct Opened {
    OwnedFd fd;  // O_PATH
    FileStat stat;
    std::string symlink_target;
    std::uint64_t special = 0;
    XXH128_hash_t attributes = {};
  };
  struct FirstName {
    std::string path;
    std::shared_ptr<FileState> state;
  };

  Result<> SendDirectory(Pending directory);
  Result<> SendMissing(const std::string& path, Node& node, const std::vector<std::string>& names);
  Result<> SendChild(FdRef directory, const std::string& name, const std::string& path,
                     Node& parent);
  Result<> SendDirectoryEntry(OwnedFd fd, const FileStat& stat, const std::string& path,
                              Node& parent, const std::string& name);
  Result<> SendDirectoryAttributes(FdRef fd, const FileStat& stat, const std::string& path,
                                   Node& node);
  Result<> SendLeaf(FdRef directory, const std::string& name, const std::string& path,
                    const FileStat& stat, Node& parent);
  Result<> SendChangedLeaf(const Opened& opened, const std::string& path, Node& parent,
                           const std::string& name, bool known);
  Result<> SendRegular(const Opened& opened, const std::string& path, FileState& state, bool fresh,
                       bool attributes_differ);
  Result<> SendSpecial(bool fresh, bool attributes_differ);
  Result<> SendLink(const std::string& path, const FirstName& first, Node& parent,
                    const std::string& name);
  // Opens the entry and fills message_ with it; empty if it vanished or was replaced.
  Result<std::optional<Opened>> Open(FdRef directory, const std::string& name,
                                     const std::string& path, const FileStat& expected);
  Result<XXH128_hash_t> FillAttributes(FdRef fd, const FileStat& stat, const std::string& path);
  Result<Node*> ChildNode(Node& parent, const std::string& name, const std::string& path);

  bool Excluded(const std::string& path) const;
  bool Racy(const FileStat& stat) const;
  // It changed under the walk: fine in a presync round.
  Result<> Unstable(const std::string& path, std::string_view what);

  FileTreeSender& sender_;
  const RoundOptions& options_;
  RoundStats stats_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  FrameWriter writer_;
  ContentSender content_;
  v1::TreeMessage message_;
  std::uint64_t root_mount_ = 0;
  std::vector<Pending> pending_;             // directories to descend into, last first
  std::map<FileId, FirstName> first_names_;  // of files with several links, this round
};

}  // namespace migrate
