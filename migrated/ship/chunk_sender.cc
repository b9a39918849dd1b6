#include "migrated/ship/chunk_sender.h"

#include <algorithm>

#include "base/limits.h"
#include "migrated/ship/chunk_sender_worker.h"

namespace migrate {

ChunkSender::ChunkSender(std::shared_ptr<grpc::Channel> channel, StreamKey key, SendOptions options)
    : chunk_bytes_(std::clamp<std::size_t>(options.chunk_bytes, 1, limits::kMaxChunkBytes)) {
  worker_ = std::make_unique<Worker>(std::move(channel), std::move(key), std::move(options));
}

ChunkSender::~ChunkSender() {
  Abort(MakeError(ErrorCode::kCancelled,
                  worker_->key().Describe() + ": the sender gave up before the end"));
}

Result<> ChunkSender::Write(std::span<const std::byte> data) {
  if (finishing_) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     worker_->key().Describe() + ": written to after its end");
  }
  TRY(worker_->Check());
  while (!data.empty()) {
    if (buffer_.capacity() < chunk_bytes_) {
      buffer_.reserve(chunk_bytes_);
    }
    const std::size_t size = std::min(data.size(), chunk_bytes_ - buffer_.size());
    buffer_.append(reinterpret_cast<const char*>(data.data()), size);
    data = data.subspan(size);
    if (buffer_.size() == chunk_bytes_) {
      TRY(Flush());
    }
  }
  return {};
}

Result<> ChunkSender::Flush() {
  if (buffer_.empty()) {
    return worker_->Check();
  }
  return worker_->Push(std::exchange(buffer_, {}), /*last=*/false);
}

Result<> ChunkSender::Finish() {
  if (!std::exchange(finishing_, true)) {
    TRY(worker_->Push(std::exchange(buffer_, {}), /*last=*/true));
  }
  return worker_->WaitFinished();
}

void ChunkSender::Abort(Error error) { worker_->Abort(std::move(error)); }

std::shared_ptr<const StreamStatistics> ChunkSender::statistics() const {
  return worker_->statistics();
}

}  // namespace migrate
