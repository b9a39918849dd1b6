// ReceiveStream and StreamRegistry. See chunk_receiver_stream.h.
#include "migrated/ship/chunk_receiver_stream.h"

#include <algorithm>

#include "base/check.h"
#include "base/ids.h"
#include "base/limits.h"
#include "migrated/ship/grpc_status.h"

namespace migrate {
namespace {

bool IsStreamName(std::string_view name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= limits::kStreamNameBytesMax &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

}  // namespace

void ReceiveStream::Attach(const std::shared_ptr<ShipServerCall>& call, const v1::ShipOpen& open) {
  std::lock_guard lock(mutex_);
  if (sender_ != 0 && sender_ != open.sender()) {
    call->RequestFinish(ToStatus(
        MakeError(ErrorCode::kAlreadyExists, key_.Describe() + ": has another sender already")));
    return;
  }
  sender_ = open.sender();
  if (open.has_abort()) {
    FailLocked(FromFailure(open.abort()));
    call->RequestFinish(grpc::Status::OK);
    return;
  }
  if (failure_) {
    call->RequestFinish(ToStatus(*failure_));
    return;
  }
  if (call_) {
    // The sender has noticed before us that its connection broke.
    call_->RequestFinish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "replaced by a newer call"));
    if (statistics_) {
      ++statistics_->reconnects;
    }
  }
  v1::ShipAck ack = Ack();
  ack.mutable_resume()->set_next_sequence(next_sequence_);
  call->RequestAck(ack);
  if (finished_) {
    call->RequestFinish(grpc::Status::OK);
    return;
  }
  call_ = call;
  quiet_since_ = Clock::now();  // for a queue that is still full
  read_wanted_ = true;
  ReadMoreLocked();
  changed_.notify_all();
}

void ReceiveStream::Detach(const ShipServerCall* call) {
  std::lock_guard lock(mutex_);
  if (call_.get() == call) {
    call_.reset();
    read_wanted_ = false;
    quiet_since_ = Clock::now();
    changed_.notify_all();
  }
}

void ReceiveStream::OnChunk(const std::shared_ptr<ShipServerCall>& call, v1::ShipChunk&& chunk) {
  std::lock_guard lock(mutex_);
  if (call_ != call) {
    return;  // a late message of a call that was replaced
  }
  quiet_since_ = Clock::now();
  if (chunk.sequence() < next_sequence_ && !chunk.has_open()) {
    if (statistics_) {
      ++statistics_->retransmits;
    }
  } else if (auto error = Check(chunk)) {
    FailLocked(std::move(*error));
    return;
  } else {
    ++next_sequence_;
    next_offset_ += chunk.raw_size();
    last_received_ = chunk.last();
    queue_.push_back(std::move(chunk));
    CountHeldLocked();
  }
  read_wanted_ = true;
  ReadMoreLocked();
  changed_.notify_all();
}

std::optional<Error> ReceiveStream::Check(const v1::ShipChunk& chunk) const {
  const auto fail = [&](const std::string& text) { return ChunkError(chunk.sequence(), text); };
  if (chunk.has_open()) {
    return fail("opens a stream within a call");
  }
  if (chunk.sequence() != next_sequence_) {
    return fail("out of order, expected is chunk " + std::to_string(next_sequence_));
  }
  if (last_received_) {
    return fail("comes after the last one");
  }
  if (chunk.offset() != next_offset_) {
    return fail("offset " + std::to_string(chunk.offset()) + ", expected is " +
                std::to_string(next_offset_));
  }
  if (chunk.raw_size() > limits::kMaxChunkBytes || chunk.data().size() > limits::kMaxChunkBytes) {
    return fail("too large");
  }
  if (chunk.raw_size() == 0 && !chunk.last()) {
    return fail("empty");
  }
  if (chunk.codec() != v1::SHIP_CODEC_NONE && chunk.codec() != v1::SHIP_CODEC_ZSTD) {
    return fail("unknown compression");
  }
  return std::nullopt;
}

Error ReceiveStream::ChunkError(std::uint64_t sequence, const std::string& text) const {
  return MakeError(ErrorCode::kDataLoss,
                   key_.Describe() + ": chunk " + std::to_string(sequence) + ": " + text);
}

std::size_t ReceiveStream::Capacity() const {
  return accepted_ ? options_.window : limits::kUnacceptedStreamChunks;
}

v1::ShipAck ReceiveStream::Ack() const {
  v1::ShipAck ack;
  ack.set_received(next_sequence_);
  ack.set_consumed(consumed_);
  ack.set_finished(finished_);
  return ack;
}

void ReceiveStream::ReadMoreLocked() {
  // One read at a time, and only with room for what it brings: this is what bounds the memory,
  // whatever the sender believes its window to be.
  if (call_ && read_wanted_ && queue_.size() < Capacity()) {
    read_wanted_ = false;
    quiet_since_ = Clock::now();  // while we did not read, the sender could not be heard
    call_->RequestRead();
  }
}

void ReceiveStream::CountHeldLocked() {
  if (statistics_) {
    statistics_->AddHeld(static_cast<std::int64_t>(queue_.size()) -
                         static_cast<std::int64_t>(counted_));
    counted_ = queue_.size();
  }
}

bool ReceiveStream::Accept(const ReceiveOptions& options,
                           std::shared_ptr<StreamStatistics> statistics) {
  std::lock_guard lock(mutex_);
  if (std::exchange(accepted_, true)) {
    return false;
  }
  options_ = options;
  options_.window = std::clamp(options.window, 1U, limits::kChunkWindowMax);
  statistics_ = std::move(statistics);
  quiet_since_ = Clock::now();
  CountHeldLocked();
  ReadMoreLocked();
  return true;
}

Result<v1::ShipChunk> ReceiveStream::NextChunk() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (failure_) {
      return *failure_;
    }
    if (!queue_.empty()) {
      v1::ShipChunk chunk = std::move(queue_.front());
      queue_.pop_front();
      CountHeldLocked();
      ReadMoreLocked();
      return chunk;
    }
    const auto deadline =
        quiet_since_ + (call_ ? options_.quiet_timeout : options_.reconnect_grace);
    if (Clock::now() < deadline) {
      changed_.wait_until(lock, deadline);
    } else if (call_) {
      FailLocked(MakeError(ErrorCode::kDeadlineExceeded,
                           key_.Describe() + ": the sender stalls: no data although connected"));
    } else {
      FailLocked(
          MakeError(ErrorCode::kUnavailable,
                    key_.Describe() + ": the connection broke and the sender did not return"));
    }
  }
}

Result<> ReceiveStream::Consumed(bool last) {
  std::lock_guard lock(mutex_);
  if (failure_) {
    return *failure_;
  }
  ++consumed_;
  finished_ = last;
  if (call_) {
    call_->RequestAck(Ack());
    if (finished_) {
      call_->RequestFinish(grpc::Status::OK);
      call_.reset();
    }
  }
  return {};
}

void ReceiveStream::Fail(Error error) {
  std::lock_guard lock(mutex_);
  FailLocked(std::move(error));
}

void ReceiveStream::FailLocked(Error error) {
  if (failure_ || finished_) {
    return;
  }
  failure_ = std::move(error);
  queue_.clear();
  CountHeldLocked();
  if (call_) {
    call_->RequestFinish(ToStatus(*failure_));
    call_.reset();
  }
  changed_.notify_all();
}

Result<> StreamRegistry::Expect(const std::string& migration_id) {
  if (!IsMigrationId(migration_id)) {
    return MakeError(ErrorCode::kInvalidArgument, "not a migration id: " + migration_id);
  }
  std::lock_guard lock(mutex_);
  if (shut_down_) {
    return MakeError(ErrorCode::kUnavailable, "the daemon is shutting down");
  }
  if (!migrations_.contains(migration_id) && migrations_.size() >= limits::kMaxActiveMigrations) {
    return MakeError(ErrorCode::kResourceExhausted, "too many migrations at one time");
  }
  migrations_.try_emplace(migration_id);
  return {};
}

void StreamRegistry::Forget(const std::string& migration_id) {
  std::lock_guard lock(mutex_);
  const auto found = migrations_.find(migration_id);
  if (found == migrations_.end()) {
    return;
  }
  for (const auto& [key, stream] : found->second) {
    stream->Fail(MakeError(ErrorCode::kAborted, key.Describe() + ": the migration has ended"));
  }
  migrations_.erase(found);
  changed_.notify_all();
}

Result<std::shared_ptr<ReceiveStream>> StreamRegistry::Open(const v1::ShipOpen& open) {
  const StreamKey key{open.migration_id(), open.stream(), open.number()};
  if (open.version() != limits::kShipProtocolVersion) {
    return MakeError(ErrorCode::kVersionMismatch,
                     "ship protocol version " + std::to_string(open.version()) +
                         " is not supported, only " + std::to_string(limits::kShipProtocolVersion));
  }
  if (!IsMigrationId(key.migration_id) || !IsStreamName(key.name) || open.sender() == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "ship: malformed stream name or migration id");
  }
  std::lock_guard lock(mutex_);
  const auto migration = migrations_.find(key.migration_id);
  if (migration == migrations_.end()) {
    return MakeError(ErrorCode::kNotFound,
                     key.Describe() + ": migration " + key.migration_id + " is not known here");
  }
  Streams& streams = migration->second;
  auto found = streams.find(key);
  if (found == streams.end()) {
    if (streams.size() >= limits::kStreamsPerMigrationMax) {
      return MakeError(ErrorCode::kResourceExhausted,
                       key.Describe() + ": too many streams in one migration");
    }
    found = streams.emplace(key, std::make_shared<ReceiveStream>(key)).first;
    changed_.notify_all();
  }
  return found->second;
}

Result<std::shared_ptr<ReceiveStream>> StreamRegistry::WaitFor(const StreamKey& key,
                                                               const ReceiveOptions& options) {
  const auto deadline = ReceiveStream::Clock::now() + options.accept_timeout;
  const std::stop_callback wake(options.stop, [this] {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
  std::unique_lock lock(mutex_);
  while (true) {
    if (options.stop.stop_requested()) {
      return MakeError(ErrorCode::kCancelled, key.Describe() + ": cancelled");
    }
    const auto migration = migrations_.find(key.migration_id);
    if (migration == migrations_.end()) {
      return MakeError(ErrorCode::kNotFound,
                       key.Describe() + ": migration " + key.migration_id + " is not known here");
    }
    if (const auto found = migration->second.find(key); found != migration->second.end()) {
      return found->second;
    }
    if (ReceiveStream::Clock::now() >= deadline) {
      return MakeError(ErrorCode::kDeadlineExceeded,
                       key.Describe() + ": the sender did not open it in time");
    }
    changed_.wait_until(lock, deadline);
  }
}

void StreamRegistry::Shutdown() {
  std::lock_guard lock(mutex_);
  shut_down_ = true;
  for (const auto& [id, streams] : migrations_) {
    for (const auto& [key, stream] : streams) {
      stream->Fail(
          MakeError(ErrorCode::kUnavailable, key.Describe() + ": the daemon is shutting down"));
    }
  }
  migrations_.clear();
  changed_.notify_all();
}

}  // namespace migrate
