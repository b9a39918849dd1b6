#include "proto/event_chunk.h"

#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"
#include "proto/event_layout.h"

namespace migrate {
namespace {

constexpr std::array<char, 8> kMagic = {'M', 'I', 'G', 'R', 'L', 'O', 'G', '\0'};
constexpr std::uint8_t kFlagLast = 1;

// The header as it lies in the log, little-endian.
struct WireHeader {
  std::array<char, 8> magic;
  std::uint16_t log_version;
  std::uint16_t frame_version;
  std::uint32_t header_bytes;  // up to here: the same in every version
  Epoch epoch;
  std::uint64_t sequence;
  std::uint64_t first_lsn;
  std::uint32_t event_count;
  std::uint32_t frame_bytes;
  std::uint32_t stored_bytes;
  std::uint8_t compression;
  std::uint8_t flags;
  std::uint16_t reserved;
  std::uint64_t opened_ns;
  std::uint64_t closed_ns;
  std::uint64_t payload_checksum;
  std::uint64_t header_checksum;  // XXH3-64 of everything before it
};
static_assert(sizeof(WireHeader) == kChunkHeaderBytes);
static_assert(offsetof(WireHeader, header_checksum) == kChunkHeaderBytes - 8);
constexpr std::size_t kVersionedFrom = offsetof(WireHeader, epoch);

ChunkHeaderResult Corrupt(std::string reason) {
  return {ChunkStatus::kCorrupt, {}, std::move(reason)};
}

// Empty: nothing is wrong with it.
std::string_view Problem(const WireHeader& wire) {
  if ((wire.flags & ~kFlagLast) != 0 || wire.reserved != 0) {
    return "a chunk has flags that are not known";
  }
  if (wire.compression > static_cast<std::uint8_t>(ChunkCompression::kZstd)) {
    return "a chunk is compressed in a way that is not known";
  }
  if (wire.frame_bytes > limits::kMaxLogChunkBytes) {
    return "a chunk is larger than one may be";
  }
  const bool plain = wire.compression == static_cast<std::uint8_t>(ChunkCompression::kNone);
  if (wire.stored_bytes > wire.frame_bytes ||
      (plain && wire.stored_bytes != wire.frame_bytes)) {
    return "a chunk's sizes contradict each other";
  }
  if (wire.event_count > wire.frame_bytes / sizeof(event_frame) ||
      (wire.event_count == 0) != (wire.frame_bytes == 0)) {
    return "a chunk's size cannot hold its events";
  }
  if (wire.event_count == 0 && (wire.flags & kFlagLast) == 0) {
    return "an empty chunk that is not the last";
  }
  if (wire.first_lsn + wire.event_count < wire.first_lsn) {
    return "a chunk's positions wrap around";
  }
  return {};
}

// What is to be seen in the first 16 bytes, whatever version the rest has.
std::string StartProblem(std::span<const std::byte> bytes) {
  const std::size_t magic = std::min(bytes.size(), kMagic.size());
  if (std::memcmp(bytes.data(), kMagic.data(), magic) != 0) {
    return "no chunk of an event log starts here";
  }
  if (bytes.size() < kVersionedFrom) {
    return {};
  }
  WireHeader wire;
  std::memcpy(&wire, bytes.data(), kVersionedFrom);
  if (wire.log_version != kEventLogVersion || wire.frame_version != EVENT_FORMAT_VERSION) {
    return "written in version " + std::to_string(wire.log_version) + "." +
           std::to_string(wire.frame_version) + " of the format; this program reads " +
           std::to_string(kEventLogVersion) + "." + std::to_string(EVENT_FORMAT_VERSION);
  }
  if (wire.header_bytes != kChunkHeaderBytes) {
    return "a chunk has a header of the wrong size";
  }
  return {};
}

}  // namespace

Epoch EpochOf(std::string_view migration_id) {
  Epoch epoch;
  CHECK(migration_id.size() == epoch.size());
  std::copy(migration_id.begin(), migration_id.end(), epoch.begin());
  return epoch;
}

std::string EpochText(const Epoch& epoch) { return std::string(epoch.data(), epoch.size()); }

std::uint64_t LogChecksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

ChunkHeaderResult ParseChunkHeader(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return {};
  }
  if (std::string problem = StartProblem(bytes); !problem.empty()) {
    return Corrupt(std::move(problem));
  }
  if (bytes.size() < kChunkHeaderBytes) {
    return {};
  }
  WireHeader wire;
  std::memcpy(&wire, bytes.data(), sizeof wire);
  if (LogChecksum(bytes.first(offsetof(WireHeader, header_checksum))) != wire.header_checksum) {
    return Corrupt("the checksum of a chunk's header is wrong");
  }
  if (const auto problem = Problem(wire); !problem.empty()) {
    return Corrupt(std::string(problem));
  }
  ChunkHeaderResult result{ChunkStatus::kHeader, {}};
  ChunkHeader& header = result.header;
  header.epoch = wire.epoch;
  header.sequence = wire.sequence;
  header.first_lsn = wire.first_lsn;
  header.event_count = wire.event_count;
  header.frame_bytes = wire.frame_bytes;
  header.stored_bytes = wire.stored_bytes;
  header.compression = static_cast<ChunkCompression>(wire.compression);
  header.last = (wire.flags & kFlagLast) != 0;
  header.opened_ns = wire.opened_ns;
  header.closed_ns = wire.closed_ns;
  header.payload_checksum = wire.payload_checksum;
  return result;
}

void WriteChunkHeader(const ChunkHeader& header, std::span<std::byte, kChunkHeaderBytes> out) {
  WireHeader wire{};
  wire.magic = kMagic;
  wire.log_version = kEventLogVersion;
  wire.frame_version = EVENT_FORMAT_VERSION;
  wire.header_bytes = kChunkHeaderBytes;
  wire.epoch = header.epoch;
  wire.sequence = header.sequence;
  wire.first_lsn = header.first_lsn;
  wire.event_count = header.event_count;
  wire.frame_bytes = header.frame_bytes;
  wire.stored_bytes = header.stored_bytes;
  wire.compression = static_cast<std::uint8_t>(header.compression);
  wire.flags = header.last ? kFlagLast : 0;
  wire.opened_ns = header.opened_ns;
  wire.closed_ns = header.closed_ns;
  wire.payload_checksum = header.payload_checksum;
  wire.header_checksum = LogChecksum(
      std::as_bytes(std::span(&wire, 1)).first(offsetof(WireHeader, header_checksum)));
  std::memcpy(out.data(), &wire, sizeof wire);
}

void ChunkPacker::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
void ChunkUnpacker::Free::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

ChunkPacker::ChunkPacker(int level) : level_(level), context_(ZSTD_createCCtx()) {
  CHECK(context_);
}

std::span<const std::byte> ChunkPacker::Pack(ChunkHeader& header, std::span<std::byte> chunk) {
  CHECK(chunk.size() >= kChunkHeaderBytes &&
        chunk.size() - kChunkHeaderBytes <= limits::kMaxLogChunkBytes);
  const auto frames = chunk.subspan(kChunkHeaderBytes);
  header.frame_bytes = static_cast<std::uint32_t>(frames.size());
  header.compression = ChunkCompression::kNone;
  std::span<std::byte> whole = chunk;
  if (level_ != 0 && !frames.empty()) {
    // Room only for a result that is smaller: zstd stops where it would not be.
    packed_.resize(chunk.size() - 1);
    const std::size_t size =
        ZSTD_compressCCtx(context_.get(), packed_.data() + kChunkHeaderBytes, frames.size() - 1,
                          frames.data(), frames.size(), level_);
    if (!ZSTD_isError(size)) {
      header.compression = ChunkCompression::kZstd;
      whole = std::span(packed_).first(kChunkHeaderBytes + size);
    }
  }
  const auto stored = whole.subspan(kChunkHeaderBytes);
  header.stored_bytes = static_cast<std::uint32_t>(stored.size());
  header.payload_checksum = LogChecksum(stored);
  WriteChunkHeader(header, whole.first<kChunkHeaderBytes>());
  return whole;
}

ChunkUnpacker::ChunkUnpacker() : context_(ZSTD_createDCtx()) { CHECK(context_); }

Result<std::span<const std::byte>> ChunkUnpacker::Unpack(const ChunkHeader& header,
                                                         std::span<const std::byte> stored) {
  CHECK(stored.size() == header.stored_bytes);
  if (LogChecksum(stored) != header.payload_checksum) {
    return MakeError(ErrorCode::kDataLoss, "the checksum of a chunk is wrong");
  }
  if (header.compression == ChunkCompression::kNone) {
    return stored;
  }
  // Both sizes are known before anything is allocated or unpacked.
  if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != header.frame_bytes ||
      ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
    return MakeError(ErrorCode::kDataLoss, "a compressed chunk has another size than announced");
  }
  frames_.resize(header.frame_bytes);
  const std::size_t size = ZSTD_decompressDCtx(context_.get(), frames_.data(), frames_.size(),
                                               stored.data(), stored.size());
  if (ZSTD_isError(size) || size != frames_.size()) {
    return MakeError(ErrorCode::kDataLoss, "a chunk cannot be decompressed");
  }
  return std::span<const std::byte>(frames_);
}

}  // namespace migrate
