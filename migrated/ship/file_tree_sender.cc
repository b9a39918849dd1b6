#include "migrated/ship/file_tree_sender.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "migrated/ship/file_tree_path.h"
#include "migrated/ship/file_tree_sender_index.h"

namespace migrate {
namespace {

bool SameStat(const FileStat& a, const FileStat& b) {
  // Links and the mount do not travel; the size of a directory is the filesystem's business.
  return a.id == b.id && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid &&
         a.ctime == b.ctime && a.mtime == b.mtime && (a.is_directory() || a.size == b.size) &&
         a.device_number == b.device_number;
}

XXH128_hash_t DigestOf(const v1::TreeAttributes& attributes) {
  const std::string text = attributes.SerializeAsString();
  return XXH3_128bits(text.data(), text.size());
}

// Races with the container: the name is gone, or is now another kind of thing.
bool IsVanished(int error_number) {
  return error_number == ENOENT || error_number == ENOTDIR || error_number == ELOOP ||
         error_number == ESTALE || error_number == EXDEV;
}

// The file itself, whatever its name now is. Does not touch its atime where we may avoid that.
OwnedFd Reopen(FdRef path_fd) {
  const std::string object = DescriptorPath(path_fd);
  OwnedFd fd(::open(object.c_str(), O_RDONLY | O_CLOEXEC | O_NOATIME));
  if (!fd && errno == EPERM) {
    fd = OwnedFd(::open(object.c_str(), O_RDONLY | O_CLOEXEC));
  }
  return fd;
}

}  // namespace

FileTreeSender::FileTreeSender(OwnedFd root, FileTreeSenderOptions options)
    : root_(std::move(root)), options_(std::move(options)) {}

FileTreeSender::~FileTreeSender() = default;

void FileTreeSender::Reset() {
  index_.reset();
  round_ = 0;
}

Result<RoundStats> FileTreeSender::RunRound(ByteSink& sink, const RoundOptions& options,
                                            const std::function<Result<>(Round&)>& body) {
  Round round(*this, sink, options);
  const auto run = [&]() -> Result<RoundStats> {
    const bool full = index_ == nullptr;
    if (full) {
      if (::getrandom(&stream_id_, sizeof(stream_id_), 0) != sizeof(stream_id_)) {
        return ErrnoError("getrandom");
      }
      index_ = std::make_unique<Node>(index_entries_);
      index_->children = std::make_unique<Node::Children>();
    }
    ++round_;
    TRY(round.Begin(full));
    TRY(body(round));
    return round.End();
  };
  Result<RoundStats> stats = run();
  if (!stats) {
    Reset();
  }
  return stats;
}

Result<RoundStats> FileTreeSender::SendRound(ByteSink& sink, const RoundOptions& options) {
  return RunRound(sink, options, [](Round& round) { return round.SendTree(); });
}

FileTreeSender::Round::Round(FileTreeSender& sender, ByteSink& sink, const RoundOptions& options)
    : sender_(sender),
      options_(options),
      writer_(sink, options.stop, sender.options_.progress),
      content_(writer_, stats_) {
  stats_.final = options.final;
}

Result<> FileTreeSender::Round::Begin(bool full) {
  v1::TreeRoundBegin& begin = *message_.mutable_begin();
  begin.set_format_version(kTreeFormatVersion);
  begin.set_stream_id(sender_.stream_id_);
  begin.set_round(sender_.round_);
  begin.set_full(full);
  begin.set_final(options_.final);
  return writer_.Send(message_);
}

Result<RoundStats> FileTreeSender::Round::End() {
  message_.mutable_end()->set_messages(writer_.messages() - 1);
  TRY(writer_.Send(message_));
  TRY(writer_.Flush());
  stats_.bytes_sent = writer_.bytes();
  stats_.elapsed = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - start_);
  return stats_;
}

Result<> FileTreeSender::Round::SendTree() {
  const auto stat = StatEntry(sender_.root_, "");
  if (!stat) {
    return TreeErrno("stat", "");
  }
  if (!stat->is_directory()) {
    return TreeError(ErrorCode::kFailedPrecondition, "", "the root is not a directory");
  }
  root_mount_ = stat->mount;
  ++stats_.entries;
  TRY(SendDirectoryAttributes(sender_.root_, *stat, "", *sender_.index_));
  pending_.push_back({"", sender_.index_.get()});
  while (!pending_.empty()) {
    Pending next = std::move(pending_.back());
    pending_.pop_back();
    TRY(SendDirectory(std::move(next)));
  }
  return {};
}

Result<> FileTreeSender::Round::SendDirectory(Pending directory) {
  const OwnedFd fd = OpenBeneath(sender_.root_, directory.path, O_RDONLY | O_DIRECTORY);
  if (!fd) {
    return IsVanished(errno) ? Unstable(directory.path, "vanished")
                             : TreeErrno("open directory", directory.path);
  }
  const auto listed = ListNames(fd, directory.path);
  if (!listed && listed.error().code == ErrorCode::kNotFound) {
    return Unstable(directory.path, "vanished");
  }
  const std::vector<std::string> names = TRY(listed);
  // First what is gone: it makes room on the target, and a name can change its type.
  TRY(SendMissing(directory.path, *directory.node, names));
  const std::size_t first_subdirectory = pending_.size();
  for (const std::string& name : names) {
    const std::string path = JoinTreePath(directory.path, name);
    if (Excluded(path)) {
      continue;
    }
    if (writer_.stop().stop_requested()) {
      return TreeCancelled();
    }
    TRY(SendChild(fd, name, path, *directory.node));
  }
  const auto after = StatEntry(fd, "");
  if (!after || after->ctime != directory.node->state->stat.ctime) {
    ++stats_.unstable;  // entries may have come or gone behind us
  }
  std::reverse(pending_.begin() + static_cast<std::ptrdiff_t>(first_subdirectory), pending_.end());
  return {};
}

Result<> FileTreeSender::Round::SendMissing(const std::string& path, Node& node,
                                            const std::vector<std::string>& names) {
  for (auto child = node.children->begin(); child != node.children->end();) {
    if (std::binary_search(names.begin(), names.end(), child->first)) {
      ++child;
      continue;
    }
    if (child->second->state != nullptr) {
      message_.mutable_remove()->set_path(JoinTreePath(path, child->first));
      TRY(writer_.Send(message_));
      ++stats_.removed;
    }
    child = node.children->erase(child);
  }
  return {};
}

Result<> FileTreeSender::Round::SendChild(FdRef directory, const std::string& name,
                                          const std::string& path, Node& parent) {
  const auto stat = StatEntry(directory, name.c_str());
  if (!stat) {
    return IsVanished(errno) ? Unstable(path, "vanished") : TreeErrno("stat", path);
  }
  const bool other_mount = stat->mount != root_mount_ && !sender_.options_.cross_mounts;
  if (!stat->is_directory()) {
    return other_mount ? Result<>() : SendLeaf(directory, name, path, *stat, parent);
  }
  OwnedFd fd(::openat(directory.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const auto opened = fd ? StatEntry(fd, "") : std::nullopt;
  if (!opened && !IsVanished(errno)) {
    return TreeErrno("open", path);
  }
  if (!opened || opened->id != stat->id) {
    return Unstable(path, "vanished");
  }
  TRY(SendDirectoryEntry(std::move(fd), *opened, path, parent, name));
  if (other_mount) {
    CHECK(pending_.back().path == path);
    pending_.pop_back();
  }
  return {};
}

Result<> FileTreeSender::Round::SendDirectoryEntry(OwnedFd fd, const FileStat& stat,
                                                   const std::string& path, Node& parent,
                                                   const std::string& name) {
  ++stats_.entries;
  Node* node = TRY(ChildNode(parent, name, path));
  if (node->children == nullptr) {  // new, or something else had this name
    node->state = nullptr;
    node->children = std::make_unique<Node::Children>();
  }
  TRY(SendDirectoryAttributes(fd, stat, path, *node));
  pending_.push_back({path, node});
  return {};
}

Result<> FileTreeSender::Round::SendDirectoryAttributes(FdRef fd, const FileStat& stat,
                                                        const std::string& path, Node& node) {
  if (node.state != nullptr && SameStat(node.state->stat, stat) && !node.state->racy) {
    return {};
  }
  v1::TreeEntry& entry = *message_.mutable_entry();
  entry.Clear();
  entry.set_path(path);
  entry.set_type(v1::TREE_ENTRY_TYPE_DIRECTORY);
  entry.set_content(v1::TREE_CONTENT_KEEP);
  const bool racy = Racy(stat);
  const XXH128_hash_t digest = TRY(FillAttributes(fd, stat, path));
  const bool fresh = node.state == nullptr;
  if (fresh) {
    node.state = std::make_shared<FileState>();
  }
  if (fresh || XXH128_isEqual(digest, node.state->attributes) == 0) {
    TRY(writer_.Send(message_));
  }
  node.state->stat = stat;
  node.state->racy = racy;
  node.state->attributes = digest;
  return {};
}

Result<> FileTreeSender::Round::SendLeaf(FdRef directory, const std::string& name,
                                         const std::string& path, const FileStat& stat,
                                         Node& parent) {
  ++stats_.entries;
  if (stat.links > 1) {
    const auto first = first_names_.find(stat.id);
    if (first != first_names_.end()) {
      return SendLink(path, first->second, parent, name);
    }
  }
  const auto found = parent.children->find(name);
  FileState* state = found == parent.children->end() || found->second->children != nullptr
                         ? nullptr
                         : found->second->state.get();
  const bool known =
      state != nullptr && state->stat.id == stat.id && state->stat.type() == stat.type();
  if (known && SameStat(state->stat, stat) && !state->racy &&
      !options_.always_compare.contains(stat.id, path)) {
    if (stat.links > 1) {
      first_names_[stat.id] = {path, found->second->state};
    }
    return {};
  }
  const std::optional<Opened> opened = TRY(Open(directory, name, path, stat));
  if (!opened) {
    return Unstable(path, "vanished");
  }
  return SendChangedLeaf(*opened, path, parent, name, known);
}

Result<std::optional<FileTreeSender::Round::Opened>> FileTreeSender::Round::Open(
    FdRef directory, const std::string& name, const std::string& path, const FileStat& expected) {
  Opened opened;
  opened.fd = OwnedFd(::openat(directory.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const auto stat = opened.fd ? StatEntry(opened.fd, "") : std::nullopt;
  if (!stat) {
    if (IsVanished(errno)) {
      return std::optional<Opened>();
    }
    return TreeErrno("open", path);
  }
  if (stat->id != expected.id || stat->type() != expected.type()) {
    return std::optional<Opened>();
  }
  opened.stat = *stat;
  v1::TreeEntry& entry = *message_.mutable_entry();
  entry.Clear();
  entry.set_path(path);
  entry.set_type(TreeTypeOf(stat->mode));
  if (entry.type() == v1::TREE_ENTRY_TYPE_UNSPECIFIED) {
    return TreeError(ErrorCode::kFailedPrecondition, path, "an unknown type of file");
  }
  if (stat->type() == S_IFLNK) {
    std::string target(limits::kMaxPathBytes, '\0');
    const ssize_t size = ::readlinkat(opened.fd.get(), "", target.data(), target.size());
    if (size < 0) {
      return TreeErrno("read symlink", path);
    }
    target.resize(static_cast<std::size_t>(size));
    opened.special = XXH3_64bits(target.data(), target.size());
    entry.set_symlink_target(std::move(target));
  } else if (stat->type() == S_IFCHR || stat->type() == S_IFBLK) {
    opened.special = stat->device_number;
    entry.set_device_major(major(stat->device_number));
    entry.set_device_minor(minor(stat->device_number));
  }
  opened.attributes = TRY(FillAttributes(opened.fd, *stat, path));
  return std::optional<Opened>(std::move(opened));
}

Result<> FileTreeSender::Round::SendChangedLeaf(const Opened& opened, const std::string& path,
                                                Node& parent, const std::string& name, bool known) {
  Node* node = TRY(ChildNode(parent, name, path));
  const bool fresh = !known || node->state->special != opened.special;
  if (fresh) {
    node->children = nullptr;
    node->state = std::make_shared<FileState>();
    node->state->block_counter = &sender_.index_blocks_;
  }
  FileState& state = *node->state;
  const bool attributes_differ = fresh || XXH128_isEqual(opened.attributes, state.attributes) == 0;
  state.racy = Racy(opened.stat);
  TRY(opened.stat.is_regular() ? SendRegular(opened, path, state, fresh, attributes_differ)
                               : SendSpecial(fresh, attributes_differ));
  state.stat = opened.stat;
  state.special = opened.special;
  state.attributes = opened.attributes;
  if (opened.stat.links > 1) {
    first_names_[opened.stat.id] = {path, node->state};
  }
  return {};
}

Result<> FileTreeSender::Round::SendSpecial(bool fresh, bool attributes_differ) {
  message_.mutable_entry()->set_content(fresh ? v1::TREE_CONTENT_NEW : v1::TREE_CONTENT_KEEP);
  return fresh || attributes_differ ? writer_.Send(message_) : Result<>();
}

Result<> FileTreeSender::Round::SendRegular(const Opened& opened, const std::string& path,
                                            FileState& state, bool fresh, bool attributes_differ) {
  if (opened.stat.size > static_cast<std::uint64_t>(limits::kMaxFileBytes)) {
    return TreeError(ErrorCode::kResourceExhausted, path, "file too large");
  }
  const OwnedFd file = Reopen(opened.fd);
  if (!file) {
    return TreeErrno("open", path);
  }
  v1::TreeEntry& entry = *message_.mutable_entry();
  entry.set_content(fresh ? v1::TREE_CONTENT_NEW : v1::TREE_CONTENT_DELTA);
  ContentOutcome outcome = TRY(
      content_.Send(file, opened.stat.size, state.content, options_.verify_unchanged, message_));
  if (!outcome.sent && attributes_differ) {
    entry.set_content(v1::TREE_CONTENT_KEEP);
    TRY(writer_.Send(message_));
  }
  if (sender_.index_blocks_ - state.content.blocks.size() + outcome.now.blocks.size() >
      sender_.options_.max_index_blocks) {
    outcome.now.blocks = {};
  }
  state.SetContent(std::move(outcome.now));
  const auto after = StatEntry(file, "");
  if (!after) {
    return TreeErrno("stat", path);
  }
  if (outcome.shrank || after->size < opened.stat.size) {
    state.racy = true;
    return Unstable(path, "shrank while it was read");
  }
  if (!(after->ctime == opened.stat.ctime)) {
    ++stats_.unstable;
  }
  return {};
}

Result<> FileTreeSender::Round::SendLink(const std::string& path, const FirstName& first,
                                         Node& parent, const std::string& name) {
  Node* node = TRY(ChildNode(parent, name, path));
  // The same state: they are one inode over there already.
  if (node->state == first.state) {
    return {};
  }
  message_.mutable_link()->set_path(path);
  message_.mutable_link()->set_target(first.path);
  TRY(writer_.Send(message_));
  node->children = nullptr;
  node->state = first.state;
  return {};
}

Result<XXH128_hash_t> FileTreeSender::Round::FillAttributes(FdRef fd, const FileStat& stat,
                                                            const std::string& path) {
  v1::TreeAttributes& attributes = *message_.mutable_entry()->mutable_attributes();
  TRY(ReadAttributes(fd, stat, sender_.options_.skip_xattrs, path, attributes));
  return DigestOf(attributes);
}

Result<FileTreeSender::Node*> FileTreeSender::Round::ChildNode(Node& parent,
                                                               const std::string& name,
                                                               const std::string& path) {
  std::unique_ptr<Node>& node = (*parent.children)[name];
  if (node == nullptr) {
    if (sender_.index_entries_ >= sender_.options_.max_entries) {
      return TreeError(ErrorCode::kResourceExhausted, path, "too many files in this tree");
    }
    if (!IsTreePath(path)) {
      return TreeError(ErrorCode::kFailedPrecondition, path, "path too long");
    }
    node = std::make_unique<Node>(sender_.index_entries_);
  }
  return node.get();
}

bool FileTreeSender::Round::Excluded(const std::string& path) const {
  return std::any_of(sender_.options_.excludes.begin(), sender_.options_.excludes.end(),
                     [&](const std::string& exclude) {
                       return path.starts_with(exclude) &&
                              (path.size() == exclude.size() || path[exclude.size()] == '/');
                     });
}

bool FileTreeSender::Round::Racy(const FileStat& stat) const {
  using namespace std::chrono;
  const auto ctime = seconds(stat.ctime.seconds) + nanoseconds(stat.ctime.nanoseconds);
  const auto now = system_clock::now().time_since_epoch();
  const auto margin = stat.ctime.nanoseconds == 0
                          ? std::max<milliseconds>(sender_.options_.racy_margin, seconds(2))
                          : sender_.options_.racy_margin;
  return ctime > now - margin;
}

Result<> FileTreeSender::Round::Unstable(const std::string& path, std::string_view what) {
  if (options_.final) {
    return TreeError(ErrorCode::kFailedPrecondition, path,
                     std::string(what) + " though nothing may write to the tree any more");
  }
  ++stats_.unstable;
  return {};
}

}  // namespace migrate
