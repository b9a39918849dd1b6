#include "migrated/ship/file_tree_content.h"

#include <algorithm>

#include "migrated/ship/file_tree_path.h"

namespace migrate {

// Merges runs of equal blocks and of holes, and holds the header back until something differs.
class ContentSender::Emitter {
 public:
  Emitter(FrameWriter& writer, v1::TreeMessage& header, bool verify)
      : writer_(writer), header_(header), verify_(verify) {}

  bool begun() const { return begun_; }

  Result<> Begin() {
    if (begun_) {
      return {};
    }
    begun_ = true;
    return writer_.Send(header_);
  }

  Result<> Same(std::uint64_t offset, std::uint64_t length, const XXH128_hash_t& digest) {
    TRY(FlushHole());
    if (same_.length == 0) {
      same_ = {offset, 0};
      same_stream_.Reset();
    }
    same_.length += length;
    same_stream_.UpdateDigest(digest);
    return {};
  }

  Result<> Trusted(std::uint64_t length) {
    TRY(Begin());
    return SendSame({0, length}, {});
  }

  Result<> Hole(std::uint64_t offset, std::uint64_t length) {
    TRY(Begin());
    TRY(FlushSame());
    if (hole_.length == 0) {
      hole_ = {offset, 0};
    }
    hole_.length += length;
    return {};
  }

  Result<> Data(std::uint64_t offset, const std::byte* data, std::size_t size) {
    TRY(Begin());
    TRY(FlushSame());
    TRY(FlushHole());
    return writer_.SendData(offset, data, size);
  }

  Result<> End(std::uint64_t size) {
    TRY(FlushSame());
    TRY(FlushHole());
    message_.mutable_file_end()->set_size(size);
    return writer_.Send(message_);
  }

 private:
  struct Range {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  Result<> SendSame(Range range, std::string digest) {
    v1::TreeSame& same = *message_.mutable_same();
    same.set_offset(range.offset);
    same.set_length(range.length);
    same.set_digest(std::move(digest));
    return writer_.Send(message_);
  }

  Result<> FlushSame() {
    if (same_.length == 0) {
      return {};
    }
    const Range range = std::exchange(same_, {});
    return SendSame(range, verify_ ? CanonicalDigest(same_stream_.Digest()) : std::string());
  }

  Result<> FlushHole() {
    if (hole_.length == 0) {
      return {};
    }
    const Range range = std::exchange(hole_, {});
    message_.mutable_hole()->set_offset(range.offset);
    message_.mutable_hole()->set_length(range.length);
    return writer_.Send(message_);
  }

  FrameWriter& writer_;
  v1::TreeMessage& header_;
  v1::TreeMessage message_;
  const bool verify_;
  bool begun_ = false;
  Range same_;
  Range hole_;
  Xxh3Stream same_stream_;
};

Result<ContentOutcome> ContentSender::Send(FdRef file, std::uint64_t size, const ContentBase& base,
                                           bool verify, v1::TreeMessage& header) {
  v1::TreeEntry& entry = *header.mutable_entry();
  path_ = entry.path();
  ContentOutcome outcome;
  outcome.now.block_size = BlockSizeFor(size, base.block_size);
  entry.set_size(size);
  entry.set_base_size(base.size);
  entry.set_block_size(outcome.now.block_size);

  Emitter emitter(writer_, header, verify);
  if (entry.content() == v1::TREE_CONTENT_NEW || size != base.size) {
    TRY(emitter.Begin());
  }
  if (base.trusted_bytes > 0 && base.trusted_bytes <= size) {
    TRY(emitter.Trusted(base.trusted_bytes));
    outcome.now.size = TRY(SendRange(emitter, file, base.trusted_bytes, size));
    outcome.shrank = outcome.now.size < size;
  } else {
    TRY(SendBlocks(emitter, file, size, base, outcome));
  }
  if (emitter.begun()) {
    TRY(emitter.End(outcome.now.size));
    outcome.sent = true;
    ++stats_.files_changed;
  }
  return outcome;
}

Result<> ContentSender::SendBlocks(Emitter& emitter, FdRef file, std::uint64_t size,
                                   const ContentBase& base, ContentOutcome& outcome) {
  const std::uint64_t block_size = outcome.now.block_size;
  const std::size_t known = base.block_size == block_size ? base.blocks.size() : 0;
  std::vector<BlockState>& blocks = outcome.now.blocks;
  ExtentCursor extents(file, size);
  for (std::uint64_t offset = 0; offset < size; offset += block_size) {
    if (writer_.stop().stop_requested()) {
      return TreeCancelled();
    }
    const std::uint64_t length = std::min(block_size, size - offset);
    const std::size_t index = blocks.size();
    if (index < known) {
      const auto block = TRY(digester_.Digest(file, extents, offset, length, path_));
      stats_.bytes_read += block.read;
      if (block.bytes == length && block.state == base.blocks[index]) {
        TRY(emitter.Same(offset, length, block.state.digest));
        blocks.push_back(block.state);
        continue;
      }
    }
    BlockState state;
    const std::uint64_t end = TRY(SendBlock(emitter, file, extents, offset, length, state));
    if (end < offset + length) {
      // Blocks before this one are known; this one is not, its digest is of another length.
      outcome.now.size = end;
      outcome.shrank = true;
      // The header, or the size would not be announced: the receiver must cut the file.
      return emitter.Begin();
    }
    blocks.push_back(state);
  }
  outcome.now.size = size;
  return {};
}

Result<std::uint64_t> ContentSender::SendBlock(Emitter& emitter, FdRef file, ExtentCursor& extents,
                                               std::uint64_t offset, std::uint64_t length,
                                               BlockState& state) {
  const std::uint64_t end = offset + length;
  const LayoutHash layout(extents, offset, length);
  state.layout = layout.value();
  if (layout.all_hole()) {
    state.digest = digester_.ZeroDigest(length);
    TRY(emitter.Hole(offset, length));
    return end;
  }
  block_stream_.Reset();
  std::uint64_t position = offset;
  while (position < end) {
    const Extent extent = extents.At(position);
    if (extent.begin > position) {
      const std::uint64_t hole = std::min(extent.begin, end) - position;
      TRY(emitter.Hole(position, hole));
      block_stream_.UpdateZeros(hole);
      position += hole;
      continue;
    }
    const std::size_t wanted =
        std::min<std::uint64_t>(std::min(extent.end, end) - position, buffer_.size());
    const std::size_t got = TRY(ReadAt(file, position, buffer_.data(), wanted, path_));
    stats_.bytes_read += got;
    if (got > 0) {
      TRY(emitter.Data(position, buffer_.data(), got));
      block_stream_.Update(buffer_.data(), got);
      position += got;
    }
    if (got < wanted) {
      return position;
    }
  }
  state.digest = block_stream_.Digest();
  return position;
}

Result<std::uint64_t> ContentSender::SendRange(Emitter& emitter, FdRef file, std::uint64_t begin,
                                               std::uint64_t end) {
  while (begin < end) {
    const std::size_t wanted = std::min<std::uint64_t>(end - begin, buffer_.size());
    const std::size_t got = TRY(ReadAt(file, begin, buffer_.data(), wanted, path_));
    stats_.bytes_read += got;
    if (got > 0) {
      TRY(emitter.Data(begin, buffer_.data(), got));
    }
    begin += got;
    if (got < wanted) {
      break;
    }
  }
  return begin;
}

}  // namespace migrate
