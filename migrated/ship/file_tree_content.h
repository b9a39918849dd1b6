// ContentSender: the content of one regular file as frames, whole or as the difference to what the
// receiver has. Owned by one round; borrows the file and the writer. One thread. Memory: one piece
// and 24 bytes per block.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/ship/file_tree.h"
#include "migrated/ship/file_tree_blocks.h"
#include "migrated/ship/file_tree_frame.h"

namespace migrate {

// What the receiver holds of a file's content.
struct ContentBase {
  std::uint64_t size = 0;
  std::uint64_t block_size = 0;
  std::vector<BlockState> blocks = {};  // a prefix of the file's blocks; empty: not known
  std::uint64_t trusted_bytes = 0;      // append-only: these bytes are there and have not changed
};

struct ContentOutcome {
  bool sent = false;    // false: nothing differs, and no frame was written
  bool shrank = false;  // the file ended before the size that was announced
  ContentBase now;      // what the receiver holds after it has applied the frames
};

class ContentSender {
 public:
  ContentSender(FrameWriter& writer, RoundStats& stats) : writer_(writer), stats_(stats) {}

  // `header` holds a TreeEntry of content NEW or DELTA; it is sent before the first difference, or
  // at once if the content is new or its size differs. `verify`: the receiver compares the blocks
  // that stay. An empty `base` is right for NEW.
  Result<ContentOutcome> Send(FdRef file, std::uint64_t size, const ContentBase& base, bool verify,
                              v1::TreeMessage& header);

 private:
  class Emitter;

  Result<> SendBlocks(Emitter& emitter, FdRef file, std::uint64_t size, const ContentBase& base,
                      ContentOutcome& outcome);
  // Returns the end of what was sent: short of the block's if the file ends there.
  Result<std::uint64_t> SendBlock(Emitter& emitter, FdRef file, ExtentCursor& extents,
                                  std::uint64_t offset, std::uint64_t length, BlockState& state);
  Result<std::uint64_t> SendRange(Emitter& emitter, FdRef file, std::uint64_t begin,
                                  std::uint64_t end);

  FrameWriter& writer_;
  RoundStats& stats_;
  std::string_view path_;
  BlockDigester digester_;
  Xxh3Stream block_stream_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(limits::kTreePieceBytes);
};

}  // namespace migrate
