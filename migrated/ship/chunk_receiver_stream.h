// Internal to the receiver; speaks gRPC. ReceiveStream is the state of one stream, which outlives
// the calls that feed it; ShipServerCall is one call; StreamRegistry knows all streams.
//
// Locks, outer first: registry, stream, call. A call never holds its own lock while it calls a
// stream. Nothing here blocks gRPC's threads but for these short locks.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "base/result.h"
#include "migrated/ship/chunk_receiver.h"
#include "proto/ship.grpc.pb.h"

namespace migrate {

class StreamRegistry;

class ShipServerCall final : public grpc::ServerBidiReactor<v1::ShipChunk, v1::ShipAck> {
 public:
  // Owns itself until gRPC is done with it.
  static ShipServerCall* Start(std::shared_ptr<StreamRegistry> registry);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // For the stream, which is attached; without effect once the call has ended.
  void RequestRead();
  void RequestAck(const v1::ShipAck& ack);  // replaces one that has not been written yet
  void RequestFinish(grpc::Status status);  // after an acknowledgement that waits

 private:
  explicit ShipServerCall(std::shared_ptr<StreamRegistry> registry)
      : registry_(std::move(registry)) {}
  void HandleOpen();
  void WriteOrFinish();  // the lock is held

  const std::shared_ptr<StreamRegistry> registry_;
  std::shared_ptr<ShipServerCall> self_;
  v1::ShipChunk message_;  // of the one read at a time

  std::mutex mutex_;
  std::shared_ptr<ReceiveStream> stream_;
  v1::ShipAck writing_ack_;
  std::optional<v1::ShipAck> next_ack_;
  std::optional<grpc::Status> finish_;
  bool writing_ = false;
  bool finished_ = false;
  bool cancelled_ = false;
};

class ReceiveStream {
 public:
  using Clock = std::chrono::steady_clock;

  explicit ReceiveStream(StreamKey key) : key_(std::move(key)) {}

  // From calls. Attach decides whether the call may feed the stream; it answers it in any case.
  void Attach(const std::shared_ptr<ShipServerCall>& call, const v1::ShipOpen& open);
  void Detach(const ShipServerCall* call);
  void OnChunk(const std::shared_ptr<ShipServerCall>& call, v1::ShipChunk&& chunk);

  // From the reader.
  bool Accept(const ReceiveOptions& options, std::shared_ptr<StreamStatistics> statistics);
  // The next chunk in order, waiting for it.
  Result<v1::ShipChunk> NextChunk();
  Result<> Consumed(bool last);  // the chunk that NextChunk gave has been read

  void Fail(Error error);
  const StreamKey& key() const { return key_; }

 private:
  std::size_t Capacity() const;
  v1::ShipAck Ack() const;
  std::optional<Error> Check(const v1::ShipChunk& chunk) const;
  Error ChunkError(std::uint64_t sequence, const std::string& text) const;
  void FailLocked(Error error);
  void ReadMoreLocked();
  void CountHeldLocked();

  const StreamKey key_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::ShipChunk> queue_;
  std::size_t counted_ = 0;                       // of them, in the statistics
  std::shared_ptr<ShipServerCall> call_;          // the one that feeds the stream now
  bool read_wanted_ = false;                      // the call waits for room in the queue
  Clock::time_point quiet_since_ = Clock::now();  // last attach, detach or chunk
  std::uint64_t sender_ = 0;                      // 0: nobody opened it yet
  std::uint64_t next_sequence_ = 0;
  std::uint64_t next_offset_ = 0;
  std::uint64_t consumed_ = 0;
  bool last_received_ = false;
  bool finished_ = false;
  bool accepted_ = false;
  std::optional<Error> failure_;
  ReceiveOptions options_;
  std::shared_ptr<StreamStatistics> statistics_;  // from Accept on
};

// Streams stay until their migration is forgotten, after their end as a small remainder: a sender
// whose connection broke at the very end must still learn how it ended.
class StreamRegistry {
 public:
  Result<> Expect(const std::string& migration_id);
  void Forget(const std::string& migration_id);
  Result<std::shared_ptr<ReceiveStream>> Open(const v1::ShipOpen& open);
  Result<std::shared_ptr<ReceiveStream>> WaitFor(const StreamKey& key,
                                                 const ReceiveOptions& options);
  void Shutdown();

 private:
  using Streams = std::map<StreamKey, std::shared_ptr<ReceiveStream>>;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Streams> migrations_;
  bool shut_down_ = false;
};

}  // namespace migrate
