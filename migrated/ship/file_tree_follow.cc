// The part of FileTreeSender that ships files while another process still appends to them.
#include <fcntl.h>
#include <fnmatch.h>

#include <algorithm>
#include <thread>

#include "migrated/ship/file_tree_path.h"
#include "migrated/ship/file_tree_sender.h"
#include "migrated/ship/file_tree_sender_index.h"

namespace migrate {

Result<RoundStats> FileTreeSender::SendAppendedFiles(ByteSink& sink, const FollowOptions& options) {
  const RoundOptions round_options{.stop = options.stop};
  return RunRound(sink, round_options, [&](Round& round) { return Follow(round, options); });
}

Result<> FileTreeSender::Follow(Round& round, const FollowOptions& options) {
  while (true) {
    if (options.stop.stop_requested()) {
      return TreeCancelled();
    }
    // Asked before the look, so that the last look sees all that was written.
    const bool finished = !options.finished || options.finished();
    const bool grew = TRY(FollowOnce(round, options));
    if (finished) {
      return {};
    }
    if (!grew) {
      TRY(round.writer().Flush());
      std::this_thread::sleep_for(limits::kTreeFollowInterval);
    }
  }
}

Result<bool> FileTreeSender::FollowOnce(Round& round, const FollowOptions& options) {
  bool grew = false;
  const std::vector<std::string> names = TRY(ListNames(root_, ""));
  for (const std::string& name : names) {
    const bool matches = std::any_of(
        options.patterns.begin(), options.patterns.end(), [&](const std::string& pattern) {
          return ::fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD) == 0;
        });
    if (!matches) {
      continue;
    }
    const auto stat = StatEntry(root_, name.c_str());
    // What is not a plain file of its own is left to the rounds.
    if (stat && stat->is_regular() && stat->links == 1 && stat->size > 0) {
      grew = TRY(SendGrowth(round, name, *stat)) || grew;
    }
  }
  return grew;
}

Result<bool> FileTreeSender::SendGrowth(Round& round, const std::string& name,
                                        const FileStat& stat) {
  std::unique_ptr<Node>& node = (*index_->children)[name];
  if (node == nullptr) {
    node = std::make_unique<Node>(index_entries_);
    node->state = std::make_shared<FileState>();
    node->state->block_counter = &index_blocks_;
    node->state->stat = stat;
    ++round.stats().entries;
    ++round.stats().files_changed;
  }
  if (node->state == nullptr || node->state->stat.id != stat.id || node->children != nullptr ||
      stat.size <= node->state->content.size) {
    return false;
  }
  const OwnedFd file(::openat(root_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) {
    return TreeErrno("open", name);
  }
  const std::uint64_t start = node->state->content.size;
  std::uint64_t end = start;
  std::vector<std::byte> buffer(limits::kTreePieceBytes);
  v1::TreeMessage message;
  v1::TreeAppend& append = *message.mutable_append();
  append.set_path(name);
  while (end < stat.size) {
    const std::size_t wanted = std::min<std::uint64_t>(stat.size - end, buffer.size());
    const std::size_t got = TRY(ReadAt(file, end, buffer.data(), wanted, name));
    if (got == 0) {
      return TreeError(ErrorCode::kFailedPrecondition, name, "an append-only file shrank");
    }
    append.set_offset(end);
    append.mutable_bytes()->assign(reinterpret_cast<const char*>(buffer.data()), got);
    TRY(round.writer().Send(message));
    round.stats().bytes_read += got;
    end += got;
  }
  node->state->racy = true;  // its attributes are not there yet
  node->state->SetContent({.size = end, .trusted_bytes = end});
  return true;
}

}  // namespace migrate
