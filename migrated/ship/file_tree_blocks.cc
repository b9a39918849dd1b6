#include "migrated/ship/file_tree_blocks.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/limits.h"
#include "migrated/ship/file_tree.h"
#include "migrated/ship/file_tree_path.h"

namespace migrate {

std::uint64_t BlockSizeFor(std::uint64_t file_size, std::uint64_t current) {
  if (current != 0 && file_size <= current * limits::kMaxDeltaBlocksPerFile) {
    return current;
  }
  const std::uint64_t wanted = file_size / (limits::kMaxDeltaBlocksPerFile / 2) + 1;
  return std::max<std::uint64_t>(limits::kMinDeltaBlockBytes, std::bit_ceil(wanted));
}

Xxh3Stream::Xxh3Stream() : state_(XXH3_createState(), XXH3_freeState) {
  CHECK(state_ != nullptr);
  Reset();
}

void Xxh3Stream::Reset() { XXH3_128bits_reset(state_.get()); }

void Xxh3Stream::Update(const void* data, std::size_t size) {
  XXH3_128bits_update(state_.get(), data, size);
}

void Xxh3Stream::UpdateZeros(std::uint64_t size) {
  static const std::vector<std::byte> zeros(limits::kMinDeltaBlockBytes);
  while (size > 0) {
    const std::size_t piece = std::min<std::uint64_t>(size, zeros.size());
    Update(zeros.data(), piece);
    size -= piece;
  }
}

void Xxh3Stream::UpdateDigest(const XXH128_hash_t& digest) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, digest);
  Update(canonical.digest, sizeof(canonical.digest));
}

XXH128_hash_t Xxh3Stream::Digest() const { return XXH3_128bits_digest(state_.get()); }

std::string CanonicalDigest(const XXH128_hash_t& digest) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, digest);
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
}

Extent ExtentCursor::At(std::uint64_t position) {
  if (position >= asked_ && position < extent_.end) {
    return extent_;
  }
  asked_ = position;
  const off_t begin = ::lseek(fd_.get(), static_cast<off_t>(position), SEEK_DATA);
  if (begin < 0) {
    // ENXIO: only a hole follows, or the file has shrunk. Else: a filesystem that does not know.
    extent_ = errno == ENXIO ? Extent{size_, size_} : Extent{position, size_};
    return extent_;
  }
  const off_t end = ::lseek(fd_.get(), begin, SEEK_HOLE);
  extent_.begin = std::min(static_cast<std::uint64_t>(begin), size_);
  extent_.end = end > begin ? std::min(static_cast<std::uint64_t>(end), size_) : size_;
  return extent_;
}

LayoutHash::LayoutHash(ExtentCursor& extents, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  Extent extent = extents.At(offset);
  if (extent.begin <= offset && extent.end >= end) {
    return;
  }
  all_hole_ = extent.begin >= end;
  std::uint64_t hash = 1;
  while (extent.begin < end) {
    const std::uint64_t pair[2] = {std::max(extent.begin, offset) - offset,
                                   std::min(extent.end, end) - offset};
    hash = XXH3_64bits_withSeed(pair, sizeof(pair), hash);
    if (extent.end >= end) {
      break;
    }
    extent = extents.At(extent.end);
  }
  value_ = hash == 0 ? 1 : hash;
}

Result<std::size_t> ReadAt(FdRef fd, std::uint64_t offset, std::byte* data, std::size_t size,
                           std::string_view path) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got =
        ::pread(fd.get(), data + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return TreeErrno("read", path);
    }
    if (got == 0) {
      break;
    }
    done += static_cast<std::size_t>(got);
  }
  return done;
}

BlockDigester::BlockDigester() : buffer_(limits::kTreePieceBytes) {}

XXH128_hash_t BlockDigester::ZeroDigest(std::uint64_t length) {
  if (length != zero_length_) {
    stream_.Reset();
    stream_.UpdateZeros(length);
    zero_digest_ = stream_.Digest();
    zero_length_ = length;
  }
  return zero_digest_;
}

Result<BlockDigester::Outcome> BlockDigester::Digest(FdRef fd, ExtentCursor& extents,
                                                     std::uint64_t offset, std::uint64_t length,
                                                     std::string_view path) {
  Outcome outcome;
  // The layout of a block is taken first: reading does not change it.
  const LayoutHash layout(extents, offset, length);
  outcome.state.layout = layout.value();
  if (layout.all_hole()) {
    outcome.state.digest = ZeroDigest(length);
    outcome.bytes = length;
    return outcome;
  }
  stream_.Reset();
  while (outcome.bytes < length) {
    const std::size_t wanted = std::min<std::uint64_t>(length - outcome.bytes, buffer_.size());
    const std::size_t got = TRY(ReadAt(fd, offset + outcome.bytes, buffer_.data(), wanted, path));
    stream_.Update(buffer_.data(), got);
    outcome.bytes += got;
    if (got < wanted) {
      break;
    }
  }
  outcome.read = outcome.bytes;
  outcome.state.digest = stream_.Digest();
  return outcome;
}

}  // namespace migrate
