#include "migrated/ship/chunk_codec.h"

#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "migrated/ship/chunk_limits.h"

namespace migrate {

std::uint64_t ChunkChecksum(std::span<const std::byte> raw) {
  return XXH3_64bits(raw.data(), raw.size());
}

LevelTuner::LevelTuner(std::optional<int> fixed)
    : fixed_(fixed), index_(limits::kCompressionFirstLevel) {}

int LevelTuner::level() const { return fixed_.value_or(limits::kCompressionLevels[index_]); }

void LevelTuner::Note(ChunkPressure pressure) {
  network_ += pressure == ChunkPressure::kNetwork ? 1 : 0;
  cpu_ += pressure == ChunkPressure::kCpu ? 1 : 0;
  if (++chunks_ < limits::kCompressionTuneChunks) {
    return;
  }
  // Three of four must agree: a level that swings costs more than one that is slightly off.
  constexpr int kMost = limits::kCompressionTuneChunks * 3 / 4;
  if (network_ >= kMost) {
    index_ = std::min(index_ + 1, limits::kCompressionLevels.size() - 1);
  } else if (cpu_ >= kMost) {
    index_ -= index_ > 0 ? 1 : 0;
  }
  chunks_ = network_ = cpu_ = 0;
}

void ChunkEncoder::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
void ChunkDecoder::Free::operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }

ChunkEncoder::ChunkEncoder() : context_(ZSTD_createCCtx()) { CHECK(context_); }
ChunkDecoder::ChunkDecoder() : context_(ZSTD_createDCtx()) { CHECK(context_); }

Result<EncodedChunk> ChunkEncoder::Encode(std::string raw, int level) {
  EncodedChunk chunk;
  chunk.checksum = ChunkChecksum(std::as_bytes(std::span(raw)));
  const bool skip = skip_ > 0;
  skip_ -= skip ? 1 : 0;
  const std::size_t gain = raw.size() / limits::kCompressionGainDivisor + 1;
  if (level == 0 || skip || raw.size() <= gain) {
    chunk.data = std::move(raw);
    return chunk;
  }
  // Room only for a result worth having: zstd stops early where it would be larger.
  std::string packed(raw.size() - gain, '\0');
  const std::size_t size = ZSTD_compressCCtx(context_.get(), packed.data(), packed.size(),
                                             raw.data(), raw.size(), level);
  if (!ZSTD_isError(size)) {
    packed.resize(size);
    packed.shrink_to_fit();
    chunk.codec = ChunkCodec::kZstd;
    chunk.data = std::move(packed);
    return chunk;
  }
  if (ZSTD_getErrorCode(size) != ZSTD_error_dstSize_tooSmall) {
    return MakeError(ErrorCode::kInternal, std::string("zstd: ") + ZSTD_getErrorName(size));
  }
  skip_ = limits::kCompressionSkipChunks;
  chunk.data = std::move(raw);
  return chunk;
}

Result<std::string> ChunkDecoder::Decode(ChunkCodec codec, std::string data, std::size_t raw_size,
                                         std::uint64_t checksum) {
  CHECK(raw_size <= limits::kMaxChunkBytes);
  std::string raw;
  if (codec == ChunkCodec::kNone) {
    raw = std::move(data);
  } else {
    raw.resize(raw_size);
    const std::size_t size =
        ZSTD_decompressDCtx(context_.get(), raw.data(), raw.size(), data.data(), data.size());
    if (ZSTD_isError(size)) {
      return MakeError(ErrorCode::kDataLoss,
                       std::string("cannot be decompressed: ") + ZSTD_getErrorName(size));
    }
    raw.resize(size);
  }
  if (raw.size() != raw_size) {
    return MakeError(
        ErrorCode::kDataLoss,
        "has " + std::to_string(raw.size()) + " bytes, announced were " + std::to_string(raw_size));
  }
  if (ChunkChecksum(std::as_bytes(std::span(raw))) != checksum) {
    return MakeError(ErrorCode::kDataLoss, "checksum mismatch");
  }
  return raw;
}

}  // namespace migrate
