// A chunk of the event log: a header of 96 bytes, then whole frames, compressed or not. The byte
// layout is in docs/event-log.md. Pure values and two codecs that each keep a zstd context; not
// thread-safe, no I/O.
//
// A log is chunks one after the other, in a file or a stream. No event lies in two chunks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace migrate {

inline constexpr std::size_t kChunkHeaderBytes = 96;
inline constexpr std::uint16_t kEventLogVersion = 1;  // of the chunks; frames: EVENT_FORMAT_VERSION

// Which log a chunk belongs to: the migration id (base/ids.h), which is 16 characters.
using Epoch = std::array<char, 16>;
Epoch EpochOf(std::string_view migration_id);
std::string EpochText(const Epoch& epoch);

enum class ChunkCompression : std::uint8_t { kNone = 0, kZstd = 1 };

struct ChunkHeader {
  Epoch epoch{};
  std::uint64_t sequence = 0;  // 0, 1, 2 ... in an epoch
  std::uint64_t first_lsn = 0;
  std::uint32_t event_count = 0;
  std::uint32_t frame_bytes = 0;   // of the frames
  std::uint32_t stored_bytes = 0;  // of what follows the header; never more than frame_bytes
  ChunkCompression compression = ChunkCompression::kNone;
  bool last = false;  // nothing follows in this epoch
  // When the first frame came in and when the chunk was closed: the source's CLOCK_REALTIME in
  // nanoseconds. For people; nothing is decided by them.
  std::uint64_t opened_ns = 0;
  std::uint64_t closed_ns = 0;
  std::uint64_t payload_checksum = 0;  // XXH3-64 of the stored bytes

  friend bool operator==(const ChunkHeader&, const ChunkHeader&) = default;
};

enum class ChunkStatus { kHeader, kNeedMore, kCorrupt };

struct ChunkHeaderResult {
  ChunkStatus status = ChunkStatus::kNeedMore;
  ChunkHeader header;
  std::string reason = {};  // kCorrupt
};

// Of the first bytes. What it claims is within the limits, and its checksum was right.
ChunkHeaderResult ParseChunkHeader(std::span<const std::byte> bytes);
// `out` gets the header's bytes, with a checksum over them.
void WriteChunkHeader(const ChunkHeader& header, std::span<std::byte, kChunkHeaderBytes> out);

std::uint64_t LogChecksum(std::span<const std::byte> bytes);

class ChunkPacker {
 public:
  // zstd's level; 0: no compression.
  explicit ChunkPacker(int level);

  // `chunk` is room for the header, then the frames; it becomes the whole chunk, header included
  // (or `packed_` does: the result is valid until the next call, and as long as `chunk`). The
  // header's byte counts, compression and checksum are filled in here.
  std::span<const std::byte> Pack(ChunkHeader& header, std::span<std::byte> chunk);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  int level_;
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  std::vector<std::byte> packed_;
};

class ChunkUnpacker {
 public:
  ChunkUnpacker();

  // The frames of a chunk; `stored` has exactly header.stored_bytes. Valid until the next call, and
  // as long as `stored`. An error is kDataLoss and says what is wrong.
  Result<std::span<const std::byte>> Unpack(const ChunkHeader& header,
                                            std::span<const std::byte> stored);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
  std::vector<std::byte> frames_;
};

}  // namespace migrate
