#include "migrated/ship/file_tree_content_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/limits.h"
#include "migrated/ship/file_tree.h"
#include "migrated/ship/file_tree_attributes.h"
#include "migrated/ship/file_tree_path.h"

namespace migrate {

Result<> WriteAt(FdRef fd, std::uint64_t offset, std::string_view data, std::string_view path) {
  while (!data.empty()) {
    const ssize_t written =
        ::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return TreeErrno("write", path, written < 0 ? errno : EIO);
    }
    data.remove_prefix(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

Error ContentWriter::Corrupt(std::string_view what) const {
  return TreeError(ErrorCode::kDataLoss, path_, what);
}

Result<> ContentWriter::Start(OwnedFd file, const v1::TreeEntry& entry, bool fresh) {
  path_ = entry.path();
  fresh_ = fresh;
  position_ = 0;
  base_size_ = fresh ? 0 : entry.base_size();
  block_size_ = entry.block_size();
  if (entry.size() > static_cast<std::uint64_t>(limits::kMaxFileBytes)) {
    return TreeError(ErrorCode::kResourceExhausted, path_, "file too large");
  }
  const auto stat = StatEntry(file, "");
  if (!stat) {
    return TreeErrno("stat", path_);
  }
  if (!stat->is_regular() || stat->size != base_size_) {
    return Corrupt("the file on the target is not the one that the difference applies to");
  }
  // At once: a hole that ends at the new end would leave the rest of its last page allocated.
  if (entry.size() < base_size_) {
    if (::ftruncate(file.get(), static_cast<off_t>(entry.size())) != 0) {
      return TreeErrno("set the size of", path_);
    }
    base_size_ = entry.size();
  }
  file_ = std::move(file);
  return {};
}

Result<> ContentWriter::Advance(std::uint64_t offset, std::uint64_t length) {
  constexpr auto kMax = static_cast<std::uint64_t>(limits::kMaxFileBytes);
  if (!active()) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: content without a file");
  }
  if (offset != position_ || length == 0 || length > kMax || position_ + length > kMax) {
    return Corrupt("content out of order or beyond the size limit");
  }
  position_ += length;
  return {};
}

Result<> ContentWriter::Data(const v1::TreeData& data) {
  TRY(Advance(data.offset(), data.bytes().size()));
  return WriteAt(file_, data.offset(), data.bytes(), path_);
}

Result<> ContentWriter::Hole(const v1::TreeHole& hole) {
  TRY(Advance(hole.offset(), hole.length()));
  if (fresh_ || hole.offset() >= base_size_) {
    return {};  // nothing is there; End sets the size
  }
  // Beyond the end nothing is lost, and the last page, of which the file has only a part, goes too.
  const std::uint64_t length =
      position_ >= base_size_ ? hole.length() + limits::kMinDeltaBlockBytes : hole.length();
  if (::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(hole.offset()), static_cast<off_t>(length)) == 0) {
    return {};
  }
  if (errno != EOPNOTSUPP) {
    return TreeErrno("punch a hole into", path_);
  }
  const std::string zeros(limits::kMinDeltaBlockBytes, '\0');
  const std::uint64_t end = std::min(position_, base_size_);
  for (std::uint64_t at = hole.offset(); at < end; at += zeros.size()) {
    const std::size_t size = std::min<std::uint64_t>(zeros.size(), end - at);
    TRY(WriteAt(file_, at, std::string_view(zeros).substr(0, size), path_));
  }
  return {};
}

Result<> ContentWriter::Same(const v1::TreeSame& same) {
  TRY(Advance(same.offset(), same.length()));
  if (fresh_ || position_ > base_size_) {
    return Corrupt("blocks are said to be the same that are not there");
  }
  if (same.digest().empty()) {
    return {};
  }
  if (!std::has_single_bit(block_size_) || block_size_ < limits::kMinDeltaBlockBytes) {
    return Corrupt("invalid block size");
  }
  run_.Reset();
  ExtentCursor extents(file_, base_size_);
  for (std::uint64_t at = same.offset(); at < position_; at += block_size_) {
    const std::uint64_t length = std::min(block_size_, position_ - at);
    const auto block = TRY(digester_.Digest(file_, extents, at, length, path_));
    bytes_read_ += block.read;
    run_.UpdateDigest(block.state.digest);
  }
  if (CanonicalDigest(run_.Digest()) != same.digest()) {
    return Corrupt("content on the target differs from what was sent before");
  }
  return {};
}

Result<OwnedFd> ContentWriter::End(const v1::TreeFileEnd& end) {
  if (!active()) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: content without a file");
  }
  if (end.size() != position_) {
    return Corrupt("content incomplete");
  }
  if (::ftruncate(file_.get(), static_cast<off_t>(position_)) != 0) {
    return TreeErrno("set the size of", path_);
  }
  return std::move(file_);
}

}  // namespace migrate
