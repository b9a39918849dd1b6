#include "migrated/ship/chunk_receiver.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "migrated/ship/chunk_codec.h"
#include "migrated/ship/chunk_receiver_stream.h"

namespace migrate {

// The reader's own part: the chunk being read. Only the reader's thread touches it.
class ChunkSource::Reader {
 public:
  Reader(std::shared_ptr<ReceiveStream> stream, std::shared_ptr<StreamStatistics> statistics,
         std::stop_token stop)
      : stream_(std::move(stream)),
        statistics_(std::move(statistics)),
        cancel_(std::move(stop), [state = stream_] {
          state->Fail(MakeError(ErrorCode::kCancelled, state->key().Describe() + ": cancelled"));
        }) {}

  Result<std::size_t> Read(std::span<std::byte> buffer) {
    while (!ended_ && position_ == raw_.size() && !buffer.empty()) {
      TRY(Advance());
    }
    const std::size_t size = std::min(buffer.size(), raw_.size() - position_);
    std::memcpy(buffer.data(), raw_.data() + position_, size);
    position_ += size;
    statistics_->raw_bytes += size;
    return size;
  }

  void Fail(Error error) { stream_->Fail(std::move(error)); }
  const std::shared_ptr<StreamStatistics>& statistics() const { return statistics_; }
  const StreamKey& key() const { return stream_->key(); }

 private:
  // A chunk counts as consumed when the reader comes back for more: it has then coped with it.
  Result<> Advance() {
    if (holding_) {
      holding_ = false;
      TRY(stream_->Consumed(last_));
      ended_ = last_;
      if (ended_) {
        return {};
      }
    }
    v1::ShipChunk chunk = TRY(stream_->NextChunk());
    const ChunkCodec codec =
        chunk.codec() == v1::SHIP_CODEC_ZSTD ? ChunkCodec::kZstd : ChunkCodec::kNone;
    statistics_->wire_bytes += chunk.data().size();
    auto raw = decoder_.Decode(codec, std::move(*chunk.mutable_data()), chunk.raw_size(),
                               chunk.checksum());
    if (!raw) {
      Error error = std::move(raw).error().WithContext(key().Describe() + ": chunk " +
                                                       std::to_string(chunk.sequence()));
      stream_->Fail(error);
      return error;
    }
    ++statistics_->chunks;
    raw_ = *std::move(raw);
    position_ = 0;
    last_ = chunk.last();
    holding_ = true;
    return {};
  }

  const std::shared_ptr<ReceiveStream> stream_;
  const std::shared_ptr<StreamStatistics> statistics_;
  ChunkDecoder decoder_;
  std::string raw_;
  std::size_t position_ = 0;
  bool holding_ = false;  // raw_ is a chunk that is not yet acknowledged
  bool last_ = false;     // it is the last one
  bool ended_ = false;
  std::stop_callback<std::function<void()>> cancel_;  // last: may run during construction
};

ChunkSource::ChunkSource(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {}

ChunkSource::~ChunkSource() {
  Fail(MakeError(ErrorCode::kCancelled,
                 reader_->key().Describe() + ": the receiver stopped reading"));
}

Result<std::size_t> ChunkSource::Read(std::span<std::byte> buffer) { return reader_->Read(buffer); }

void ChunkSource::Fail(Error error) { reader_->Fail(std::move(error)); }

std::shared_ptr<const StreamStatistics> ChunkSource::statistics() const {
  return reader_->statistics();
}

class ShipService::Impl final : public v1::Shipping::CallbackService {
 public:
  grpc::ServerBidiReactor<v1::ShipChunk, v1::ShipAck>* Ship(
      grpc::CallbackServerContext* /*context*/) override {
    return ShipServerCall::Start(registry);
  }

  const std::shared_ptr<StreamRegistry> registry = std::make_shared<StreamRegistry>();
};

ShipService::ShipService() : impl_(std::make_unique<Impl>()) {}

ShipService::~ShipService() { Shutdown(); }

grpc::Service* ShipService::grpc_service() { return impl_.get(); }

Result<> ShipService::ExpectStreams(const std::string& migration_id) {
  return impl_->registry->Expect(migration_id);
}

void ShipService::ForgetMigration(const std::string& migration_id) {
  impl_->registry->Forget(migration_id);
}

void ShipService::Shutdown() { impl_->registry->Shutdown(); }

Result<std::unique_ptr<ChunkSource>> ShipService::Accept(const StreamKey& key,
                                                         const ReceiveOptions& options) {
  auto stream = TRY(impl_->registry->WaitFor(key, options));
  auto statistics = options.statistics ? options.statistics : std::make_shared<StreamStatistics>();
  if (!stream->Accept(options, statistics)) {
    return MakeError(ErrorCode::kAlreadyExists, key.Describe() + ": accepted already");
  }
  return std::unique_ptr<ChunkSource>(new ChunkSource(std::make_unique<ChunkSource::Reader>(
      std::move(stream), std::move(statistics), options.stop)));
}

}  // namespace migrate
