// FileTreeReceiver: the other end of FileTreeSender. Makes a directory on the target equal to the
// source's, round by round.
//
// Owns the root's descriptor. One thread at a time. The stream is not trusted: names cannot leave
// the root, sizes and counts are bounded, device nodes are refused unless allowed. Failure: any
// error (corrupt, truncated, unfitting input; a full disk) leaves the tree in between and is
// returned; after it only a full round is accepted. Success means that the round was complete and
// all of it was applied.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/ship/byte_stream.h"
#include "migrated/ship/file_tree.h"
#include "migrated/ship/file_tree_content_writer.h"
#include "migrated/ship/file_tree_target.h"

namespace migrate {

class FrameReader;

struct FileTreeReceiverOptions {
  std::uint64_t max_total_bytes = std::uint64_t{1} << 44;  // of content, in one round
  std::uint64_t max_entries = limits::kMaxTreeEntries;     // named in one round
  bool allow_devices = false;  // overlayfs whiteouts (char 0:0) always are
  bool sync = false;           // after the final round everything is on the disk
  TreeProgress progress = {};
};

class FileTreeReceiver {
 public:
  FileTreeReceiver(OwnedFd root, FileTreeReceiverOptions options);

  // Blocks in source.Read(): to cancel, request the stop and break the stream.
  Result<RoundStats> ReceiveRound(ByteSource& source, std::stop_token stop = {});

 private:
  Result<RoundStats> Receive(FrameReader& reader);
  Result<> Begin(const v1::TreeMessage& message);
  Result<> Apply(const v1::TreeMessage& message);
  Result<> ApplyContent(const v1::TreeMessage& message);
  Result<> ApplyEntry(const v1::TreeEntry& entry);
  Result<> ApplyDirectory(const v1::TreeEntry& entry);
  Result<> ApplyRegular(const v1::TreeEntry& entry);
  Result<> ApplySpecial(const v1::TreeEntry& entry);
  Result<> CreateSpecial(const v1::TreeEntry& entry);
  Result<> ApplyFileEnd(const v1::TreeFileEnd& end);
  Result<> ApplyLink(const v1::TreeLink& link);
  Result<> ApplyRemove(const v1::TreeRemove& remove);
  Result<> ApplyAppend(const v1::TreeAppend& append);
  Result<> Finish();

  // A valid path, not named before in this round.
  Result<> Name(const std::string& path);
  Result<> CountBytes(std::uint64_t bytes, std::string_view path);
  Result<OwnedFd> OpenForWriting(const std::string& path, bool create);

  TargetTree tree_;
  const FileTreeReceiverOptions options_;
  // The stream that the tree holds a round of; 0 rounds: none, or one that failed.
  std::uint64_t stream_id_ = 0;
  std::uint64_t round_ = 0;

  // Of the round at hand.
  RoundStats stats_;
  bool full_ = false;
  TargetTree::Names names_;
  std::uint64_t content_bytes_ = 0;
  ContentWriter writer_;
  v1::TreeEntry file_;         // the one whose content is arriving
  std::string appended_path_;  // of the descriptor below
  OwnedFd appended_;
};

}  // namespace migrate
