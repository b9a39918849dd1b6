// The bounds of the bulk transport between daemons; see base/limits.h for those of the program.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace migrate::limits {

using namespace std::chrono_literals;

inline constexpr std::uint32_t kShipProtocolVersion = 1;

// One stream holds at most about a window of chunks of kMaxChunkBytes on either side.
inline constexpr std::uint32_t kChunkWindow = 16;
inline constexpr std::uint32_t kChunkWindowMax = 64;
inline constexpr std::size_t kChunksAheadOfEncoder = 2;  // filled by the writer, not yet encoded

// What a peer may make us keep before anybody asked for the stream.
inline constexpr std::size_t kUnacceptedStreamChunks = 2;
inline constexpr std::size_t kStreamsPerMigrationMax = 64;
inline constexpr std::size_t kStreamNameBytesMax = 64;
inline constexpr int kConcurrentCallsPerConnection = 256;

inline constexpr auto kChunkStallTimeout = 60s;  // sender: chunks are out, none is consumed
inline constexpr auto kChunkOpenTimeout = 10s;   // sender: first answer of a call
inline constexpr auto kChunkAbortTimeout = 2s;   // sender: telling the peer that it gives up
inline constexpr auto kChunkReconnectDelayMax = 8s;
inline constexpr auto kChunkReconnectGrace = 60s;  // receiver: no connection for the stream
inline constexpr auto kChunkQuietTimeout = 5min;   // receiver: a connection, but no chunk
inline constexpr auto kChunkAcceptTimeout = 60s;   // receiver: the peer opens the stream

// gRPC puts a status into header fields, which are limited to 8 KiB in all.
inline constexpr std::size_t kFailureTextBytesMax = 1024;

// Compression. A chunk that shrinks by less than 1/kCompressionGainDivisor is sent as it is, and
// so are the next kCompressionSkipChunks, without trying.
inline constexpr std::size_t kCompressionGainDivisor = 33;  // 3 %
inline constexpr int kCompressionSkipChunks = 16;
inline constexpr int kCompressionTuneChunks = 8;  // the level is looked at this often
// The levels that are adapted through, by rising cost: 0 is off, negative ones are zstd's fast
// ones. At 10 Gbit/s already level 1 costs more time than it saves.
inline constexpr std::array kCompressionLevels = {0, -5, -1, 1, 2, 3, 4, 5, 6};
inline constexpr std::size_t kCompressionFirstLevel = 3;  // index

}  // namespace migrate::limits
