#include "migrated/ship/file_tree_frame.h"

#include <endian.h>
#include <xxhash.h>

#include <cstring>

namespace migrate {
namespace {

constexpr std::size_t kHeaderBytes = 12;

void PutHeader(std::byte* header, std::uint32_t size, std::uint64_t checksum) {
  size = htole32(size);
  checksum = htole64(checksum);
  std::memcpy(header, &size, sizeof(size));
  std::memcpy(header + sizeof(size), &checksum, sizeof(checksum));
}

}  // namespace

Error TreeCancelled() { return MakeError(ErrorCode::kCancelled, "file transfer cancelled"); }

void TreeProgressMeter::Report(std::uint64_t bytes) {
  if (!progress_) {
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ >= limits::kTreeProgressInterval) {
    last_ = now;
    progress_(bytes);
  }
}

FrameWriter::FrameWriter(ByteSink& sink, std::stop_token stop, const TreeProgress& progress)
    : sink_(sink), stop_(std::move(stop)), meter_(progress) {
  buffer_.reserve(limits::kTreeWriteBytes + limits::kTreePieceBytes + 4096);
}

Result<> FrameWriter::Send(const v1::TreeMessage& message) {
  if (stop_.stop_requested()) {
    return TreeCancelled();
  }
  const std::size_t size = message.ByteSizeLong();
  if (size > limits::kMaxTreeFrameBytes) {
    return MakeError(ErrorCode::kInternal, "file tree message too large");
  }
  const std::size_t start = buffer_.size();
  buffer_.resize(start + kHeaderBytes + size);
  std::byte* const header = buffer_.data() + start;
  std::byte* const payload = header + kHeaderBytes;
  message.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(payload));
  PutHeader(header, static_cast<std::uint32_t>(size),
            XXH3_64bits_withSeed(payload, size, sequence_));
  ++sequence_;
  bytes_ += kHeaderBytes + size;
  return buffer_.size() >= limits::kTreeWriteBytes ? Flush() : Result<>();
}

Result<> FrameWriter::SendData(std::uint64_t offset, const std::byte* data, std::size_t size) {
  v1::TreeData& message = *data_.mutable_data();
  message.set_offset(offset);
  message.mutable_bytes()->assign(reinterpret_cast<const char*>(data), size);
  return Send(data_);
}

Result<> FrameWriter::Flush() {
  if (!buffer_.empty()) {
    TRY(sink_.Write(buffer_));
    buffer_.clear();
  }
  meter_.Report(bytes_);
  return {};
}

FrameReader::FrameReader(ByteSource& source, std::stop_token stop, const TreeProgress& progress)
    : source_(source), stop_(std::move(stop)), meter_(progress) {}

Result<> FrameReader::ReadExactly(std::byte* data, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const std::size_t got = TRY(source_.Read({data + done, size - done}));
    if (got == 0) {
      return MakeError(ErrorCode::kDataLoss, "the file stream ended inside a round");
    }
    done += got;
  }
  bytes_ += size;
  return {};
}

Result<> FrameReader::Next(v1::TreeMessage& message) {
  if (stop_.stop_requested()) {
    return TreeCancelled();
  }
  std::byte header[kHeaderBytes];
  TRY(ReadExactly(header, sizeof(header)));
  std::uint32_t size = 0;
  std::uint64_t checksum = 0;
  std::memcpy(&size, header, sizeof(size));
  std::memcpy(&checksum, header + sizeof(size), sizeof(checksum));
  size = le32toh(size);
  if (size > limits::kMaxTreeFrameBytes) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: frame too large");
  }
  buffer_.resize(size);
  TRY(ReadExactly(buffer_.data(), size));
  if (XXH3_64bits_withSeed(buffer_.data(), size, sequence_) != le64toh(checksum)) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: bad checksum");
  }
  ++sequence_;
  if (!message.ParseFromArray(buffer_.data(), static_cast<int>(size))) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: not a message");
  }
  meter_.Report(bytes_);
  return {};
}

}  // namespace migrate
