// ChunkSender: the sending end of one ship stream. Write only fills a buffer; one thread of its own
// compresses and sends, so that the producer, the compression and the network overlap.
//
// Owns the chunks that the peer has not acknowledged, at most a window of them and the few that
// wait for the encoder; Write blocks when they are full. A connection that breaks is replaced, and
// the stream goes on where the peer wants it. Threads: Write, Flush and Finish from one thread; the
// rest from any. Failure: of the network beyond repair, of the peer's reader (with its code and
// message), or a stop; the first error is returned by every later call. Nothing blocks for ever: a
// peer that takes nothing for `stall_timeout` is kDeadlineExceeded.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/limits.h"
#include "migrated/ship/byte_stream.h"
#include "migrated/ship/chunk_key.h"
#include "migrated/ship/chunk_limits.h"
#include "migrated/ship/chunk_rate.h"
#include "migrated/ship/chunk_statistics.h"

namespace grpc {
class Channel;
}

namespace migrate {

struct SendOptions {
  // 0: off; others are zstd's, fixed; none: adapts to what is scarcer, network or CPU.
  std::optional<int> compression_level = {};
  std::uint32_t window = limits::kChunkWindow;
  std::size_t chunk_bytes = limits::kMaxChunkBytes;
  std::shared_ptr<RateLimiter> rate = {};             // may be shared; none: no limit
  std::shared_ptr<StreamStatistics> statistics = {};  // may be shared; made if there is none
  std::stop_token stop = {};                          // ends the stream with kCancelled
  // How often in a row a connection is tried again without any progress in between.
  int reconnects = limits::kStreamReconnects;
  std::chrono::milliseconds reconnect_delay = limits::kStreamReconnectDelay;  // doubles each time
  std::chrono::milliseconds stall_timeout = limits::kChunkStallTimeout;
};

class ChunkSender final : public ByteSink {
 public:
  // Connects when there is something to send. The channel should be one for bulk data
  // (grpc_settings.h).
  ChunkSender(std::shared_ptr<grpc::Channel> channel, StreamKey key, SendOptions options = {});
  // Without a successful Finish the peer's reader gets kCancelled, or the error of Abort; this may
  // take up to kChunkAbortTimeout.
  ~ChunkSender() override;
  ChunkSender(const ChunkSender&) = delete;
  ChunkSender& operator=(const ChunkSender&) = delete;

  Result<> Write(std::span<const std::byte> data) override;
  // Sends what is buffered without waiting for a full chunk, nor for the peer.
  Result<> Flush();
  // Returns when the peer's reader has read the end of the stream.
  Result<> Finish() override;
  // The producer cannot go on: the peer's reader gets this code and message.
  void Abort(Error error);

  std::shared_ptr<const StreamStatistics> statistics() const;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;  // its thread is joined by the destructor

  // Of the producer's thread.
  std::string buffer_;
  std::size_t chunk_bytes_;
  bool finishing_ = false;
};

}  // namespace migrate
