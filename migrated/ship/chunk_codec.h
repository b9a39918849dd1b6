// One chunk, raw and encoded: compression, checksum, and the choice of the compression level. No
// I/O, no threads; an object belongs to one thread. Sizes in bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace migrate {

enum class ChunkCodec { kNone, kZstd };

struct EncodedChunk {
  ChunkCodec codec = ChunkCodec::kNone;
  std::uint64_t checksum = 0;  // XXH3-64 of the raw bytes
  std::string data;
};

std::uint64_t ChunkChecksum(std::span<const std::byte> raw);

// What the sender had to wait for when it finished a chunk.
enum class ChunkPressure { kNone, kNetwork, kCpu };

// Raises the level while the network is what is waited for, lowers it while the CPU is.
class LevelTuner {
 public:
  // A fixed level, 0 being no compression; without one the level adapts.
  explicit LevelTuner(std::optional<int> fixed);
  int level() const;
  void Note(ChunkPressure pressure);

 private:
  std::optional<int> fixed_;
  std::size_t index_;  // in kCompressionLevels
  int chunks_ = 0;
  int network_ = 0;
  int cpu_ = 0;
};

class ChunkEncoder {
 public:
  ChunkEncoder();
  // Takes the buffer, because a chunk that does not shrink is sent as it is.
  Result<EncodedChunk> Encode(std::string raw, int level);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  int skip_ = 0;  // chunks that are not tried
};

class ChunkDecoder {
 public:
  ChunkDecoder();
  // kDataLoss unless `data` becomes exactly `raw_size` bytes with this checksum.
  Result<std::string> Decode(ChunkCodec codec, std::string data, std::size_t raw_size,
                             std::uint64_t checksum);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
};

}  // namespace migrate
