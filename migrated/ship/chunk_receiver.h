// The receiving end of ship streams: ShipService, the gRPC service, takes chunks for migrations
// that were announced to it; ChunkSource reads one stream.
//
// Owns the queues of all streams: of each at most a window of chunks, and only
// kUnacceptedStreamChunks before Accept. Chunks of unknown migrations are refused with kNotFound.
// Threads: ShipService from any; one reader per ChunkSource, Fail() from any. gRPC's threads only
// queue chunks; decompression and checksums happen on the reader's thread.
// Failure: a stream that broke off, was corrupt, stalled or was given up by the sender is an Error
// of Read, and every later Read returns the same one.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "migrated/ship/byte_stream.h"
#include "migrated/ship/chunk_key.h"
#include "migrated/ship/chunk_limits.h"
#include "migrated/ship/chunk_statistics.h"

namespace grpc {
class Service;
}

namespace migrate {

class ReceiveStream;  // internal: chunk_receiver_stream.h
class StreamRegistry;

struct ReceiveOptions {
  std::chrono::milliseconds accept_timeout = limits::kChunkAcceptTimeout;
  std::chrono::milliseconds reconnect_grace = limits::kChunkReconnectGrace;
  std::chrono::milliseconds quiet_timeout = limits::kChunkQuietTimeout;
  std::uint32_t window = limits::kChunkWindow;
  std::stop_token stop = {};                          // ends Accept and the stream with kCancelled
  std::shared_ptr<StreamStatistics> statistics = {};  // made if there is none
};

class ChunkSource final : public ByteSource {
 public:
  ~ChunkSource() override;  // not read to the end: the sender gets kCancelled

  Result<std::size_t> Read(std::span<std::byte> buffer) override;

  // The reader cannot go on: the sender gets this code and message. No effect after the end of the
  // stream was read or after another error.
  void Fail(Error error);

  std::shared_ptr<const StreamStatistics> statistics() const;

 private:
  friend class ShipService;
  class Reader;
  explicit ChunkSource(std::unique_ptr<Reader> reader);

  std::unique_ptr<Reader> reader_;
};

class ShipService {
 public:
  ShipService();
  ~ShipService();  // after the gRPC server
  ShipService(const ShipService&) = delete;
  ShipService& operator=(const ShipService&) = delete;

  // For ServerBuilder::RegisterService().
  grpc::Service* grpc_service();

  // Chunks of this migration are taken from now on. At most kMaxActiveMigrations at one time.
  Result<> ExpectStreams(const std::string& migration_id);

  // Ends its streams with kAborted and frees them. No effect on an unknown one.
  void ForgetMigration(const std::string& migration_id);

  // Waits until the sender has opened the stream. A stream is accepted once.
  Result<std::unique_ptr<ChunkSource>> Accept(const StreamKey& key,
                                              const ReceiveOptions& options = {});

  // Ends all streams, lets no new one in: before the server's own Shutdown(), which waits for
  // calls.
  void Shutdown();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace migrate
