#include "migrated/ship/chunk_sender_worker.h"

#include <algorithm>
#include <random>

#include "migrated/ship/grpc_status.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;

constexpr auto kLongWait = 1h;  // nothing but a change wakes the worker

std::uint64_t RandomSender() {
  std::random_device random;
  return (std::uint64_t{random()} << 32 | random()) | 1;  // never 0
}

SendOptions Checked(SendOptions options) {
  options.window = std::clamp(options.window, 1U, limits::kChunkWindowMax);
  if (!options.statistics) {
    options.statistics = std::make_shared<StreamStatistics>();
  }
  return options;
}

// Of a status that gRPC made: what a new connection may cure.
bool MayBeResumed(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:  // the other side closed without a word
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return true;
    default:
      return false;
  }
}

}  // namespace

ChunkSender::Worker::Worker(std::shared_ptr<grpc::Channel> channel, StreamKey key,
                            SendOptions options)
    : key_(std::move(key)),
      options_(Checked(std::move(options))),
      sender_(RandomSender()),
      statistics_(options_.statistics),
      stub_(v1::Shipping::NewStub(std::move(channel))),
      tuner_(options_.compression_level) {
  events_->write_more = [this] { SendNext(); };
  thread_ = std::thread([this] { Run(); });
  cancel_.emplace(options_.stop, [this] {
    Abort(MakeError(ErrorCode::kCancelled, key_.Describe() + ": cancelled"));
  });
}

ChunkSender::Worker::~Worker() {
  cancel_.reset();
  thread_.join();
}

Result<> ChunkSender::Worker::Push(std::string raw, bool last) {
  Lock lock(events_->mutex);
  events_->changed.wait(lock,
                        [this] { return error_ || raw_.size() < limits::kChunksAheadOfEncoder; });
  if (error_) {
    return *error_;
  }
  raw_.push_back({std::move(raw), last});
  events_->changed.notify_all();
  return {};
}

Result<> ChunkSender::Worker::WaitFinished() {
  Lock lock(events_->mutex);
  events_->changed.wait(lock, [this] { return error_ || finished_; });
  if (error_) {
    return *error_;
  }
  return {};
}

Result<> ChunkSender::Worker::Check() const {
  if (!failed_) {
    return {};
  }
  Lock lock(events_->mutex);
  return *error_;
}

void ChunkSender::Worker::Abort(Error error) {
  Lock lock(events_->mutex);
  SetError(std::move(error), /*tell_peer=*/true);
}

void ChunkSender::Worker::SetError(Error error, bool tell_peer) {
  if (error_ || finished_) {
    return;
  }
  error_ = std::move(error);
  tell_peer_ = tell_peer;
  failed_ = true;
  events_->changed.notify_all();
}

void ChunkSender::Worker::Run() {
  Lock lock(events_->mutex);
  while (!finished_ && !error_) {
    wake_at_ = Clock::now() + kLongWait;
    if (!Step(lock) && !finished_ && !error_) {
      events_->changed.wait_until(lock, wake_at_);
    }
  }
  Close(lock);
}

bool ChunkSender::Worker::Step(Lock& lock) {
  TakeAcknowledgement();
  if (finished_ || error_) {
    return true;
  }
  return StepConnection(lock) || StepSend() || StepEncode(lock);
}

bool ChunkSender::Worker::StepConnection(Lock& lock) {
  const auto now = Clock::now();
  if (call_ && call_->done()) {
    HandleCallEnd();
    return true;
  }
  if (call_ && resumed_) {
    CheckStall();
    return error_.has_value();
  }
  if (call_ && !given_up_) {
    const auto deadline = opened_at_ + limits::kChunkOpenTimeout;
    WakeAt(deadline);
    if (now >= deadline) {
      given_up_ = true;
      call_->Cancel();
    }
    return false;
  }
  if (call_ || (raw_.empty() && window_.empty() && !last_encoded_)) {
    return false;
  }
  if (now < retry_at_) {
    WakeAt(retry_at_);
    return false;
  }
  Connect(lock);
  return true;
}

v1::ShipOpen ChunkSender::Worker::Open() const {
  v1::ShipOpen open;
  open.set_version(limits::kShipProtocolVersion);
  open.set_migration_id(key_.migration_id);
  open.set_stream(key_.name);
  open.set_number(key_.number);
  open.set_sender(sender_);
  return open;
}

void ChunkSender::Worker::Connect(Lock& lock) {
  lock.unlock();
  auto call = ShipClientCall::Start(*stub_, events_, Open());
  lock.lock();
  call_ = std::move(call);
  resumed_ = given_up_ = false;
  opened_at_ = Clock::now();
  if (std::exchange(connected_before_, true)) {
    ++statistics_->reconnects;
  }
}

void ChunkSender::Worker::HandleCallEnd() {
  const grpc::Status status = call_->status();
  call_.reset();
  if (CarriesError(status)) {
    SetError(FromStatus(status), /*tell_peer=*/false);
    return;
  }
  if (!MayBeResumed(status)) {
    SetError(FromStatus(status).WithContext(key_.Describe()), /*tell_peer=*/false);
    return;
  }
  const std::string cause =
      status.error_message().empty() ? "the peer closed the call" : status.error_message();
  if (attempts_ >= options_.reconnects) {
    SetError(
        MakeError(ErrorCode::kUnavailable,
                  key_.Describe() + ": the connection to the peer broke and was not back after " +
                      std::to_string(attempts_) + " attempts: " + cause),
        /*tell_peer=*/false);
    return;
  }
  std::chrono::milliseconds delay = options_.reconnect_delay * (1 << std::min(attempts_, 16));
  delay = std::min<std::chrono::milliseconds>(delay, limits::kChunkReconnectDelayMax);
  retry_at_ = Clock::now() + delay;
  ++attempts_;
}

bool ChunkSender::Worker::TakeResume() {
  const std::uint64_t wanted = call_->resume()->next_sequence();
  if (wanted < first_kept_ || wanted > sent_ever_) {
    SetError(MakeError(ErrorCode::kDataLoss,
                       key_.Describe() + ": cannot be resumed: the peer wants chunk " +
                           std::to_string(wanted) + ", kept are " + std::to_string(first_kept_) +
                           " up to " + std::to_string(sent_ever_)),
             /*tell_peer=*/true);
    return false;
  }
  resumed_ = true;
  next_to_send_ = wanted;
  progress_at_ = Clock::now();
  return true;
}

void ChunkSender::Worker::TakeAcknowledgement() {
  if (!call_ || !call_->resume() || (!resumed_ && !TakeResume())) {
    return;
  }
  const v1::ShipAck& ack = call_->ack();
  if (ack.consumed() > ack.received() || ack.received() > next_to_send_ ||
      ack.consumed() < consumed_ ||
      (ack.finished() && !(last_encoded_ && ack.consumed() == next_sequence_))) {
    SetError(MakeError(ErrorCode::kInternal,
                       key_.Describe() + ": the peer acknowledges what was never sent"),
             /*tell_peer=*/true);
    return;
  }
  if (ack.consumed() > consumed_ || ack.received() > first_kept_) {
    attempts_ = 0;
  }
  if (ack.consumed() > consumed_) {
    progress_at_ = Clock::now();
  }
  consumed_ = ack.consumed();
  while (first_kept_ < ack.received()) {
    window_.pop_front();
    ++first_kept_;
    statistics_->AddHeld(-1);
  }
  if (ack.finished()) {
    finished_ = true;
    events_->changed.notify_all();
  }
}

void ChunkSender::Worker::CheckStall() {
  if (next_to_send_ <= consumed_) {
    return;
  }
  const auto deadline = progress_at_ + options_.stall_timeout;
  WakeAt(deadline);
  if (Clock::now() >= deadline) {
    SetError(MakeError(ErrorCode::kDeadlineExceeded,
                       key_.Describe() + ": the peer stalls: nothing was read for " +
                           std::to_string(options_.stall_timeout.count()) + " ms"),
             /*tell_peer=*/true);
  }
}

bool ChunkSender::Worker::StepSend() {
  if (SendNext()) {
    return true;
  }
  if (rate_wait_until_) {
    WakeAt(*rate_wait_until_);
  }
  return false;
}

bool ChunkSender::Worker::SendNext() {
  rate_wait_until_.reset();
  if (error_ || !call_ || !resumed_ || !call_->CanWrite() || next_to_send_ == next_sequence_) {
    return false;
  }
  const v1::ShipChunk& chunk = window_[next_to_send_ - first_kept_];
  const auto now = Clock::now();
  if (options_.rate) {
    if (const auto wait = options_.rate->Take(chunk.data().size(), now); wait > wait.zero()) {
      rate_wait_until_ = now + wait;
      return false;
    }
  }
  if (next_to_send_ == consumed_) {  // the first that is out: the peer's time runs from now
    progress_at_ = now;
  }
  statistics_->wire_bytes += chunk.data().size();
  statistics_->retransmits += next_to_send_ < sent_ever_ ? 1 : 0;
  call_->Write(chunk);
  ++next_to_send_;
  sent_ever_ = std::max(sent_ever_, next_to_send_);
  return true;
}

bool ChunkSender::Worker::StepEncode(Lock& lock) {
  if (raw_.empty()) {
    return false;
  }
  if (next_sequence_ - consumed_ >= options_.window) {
    window_was_full_ = true;
    return false;
  }
  RawChunk raw = std::move(raw_.front());
  raw_.pop_front();
  events_->changed.notify_all();
  v1::ShipChunk chunk;
  chunk.set_sequence(next_sequence_);
  chunk.set_offset(next_offset_);
  chunk.set_raw_size(static_cast<std::uint32_t>(raw.bytes.size()));
  chunk.set_last(raw.last);
  lock.unlock();
  auto encoded = encoder_.Encode(std::move(raw.bytes), tuner_.level());
  lock.lock();
  if (!encoded) {
    SetError(std::move(encoded).error().WithContext(key_.Describe()), /*tell_peer=*/true);
    return true;
  }
  chunk.set_codec(encoded->codec == ChunkCodec::kZstd ? v1::SHIP_CODEC_ZSTD : v1::SHIP_CODEC_NONE);
  chunk.set_checksum(encoded->checksum);
  chunk.set_data(std::move(encoded->data));
  tuner_.Note(Pressure());
  window_was_full_ = false;
  statistics_->compression_level = tuner_.level();
  statistics_->raw_bytes += chunk.raw_size();
  ++statistics_->chunks;
  statistics_->AddHeld(1);
  ++next_sequence_;
  next_offset_ += chunk.raw_size();
  last_encoded_ = chunk.last();
  window_.push_back(std::move(chunk));
  return true;
}

ChunkPressure ChunkSender::Worker::Pressure() const {
  if (!call_ || !resumed_) {
    return ChunkPressure::kNone;
  }
  if (window_was_full_ || next_to_send_ < next_sequence_ || !call_->CanWrite()) {
    return ChunkPressure::kNetwork;
  }
  // The network has nothing to do. It waits for us, unless both wait for the producer.
  return raw_.empty() ? ChunkPressure::kNone : ChunkPressure::kCpu;
}

void ChunkSender::Worker::EndCall(Lock& lock, Clock::duration patience) {
  const auto done = [this] { return call_->done(); };
  if (!events_->changed.wait_for(lock, patience, done)) {
    call_->Cancel();
    events_->changed.wait(lock, done);
  }
  call_.reset();
}

void ChunkSender::Worker::Close(Lock& lock) {
  events_->write_more = nullptr;
  raw_.clear();
  statistics_->AddHeld(-static_cast<std::int64_t>(window_.size()));
  if (call_) {
    EndCall(lock,
            finished_ ? Clock::duration(limits::kChunkAbortTimeout) : Clock::duration::zero());
  }
  window_.clear();
  if (!error_ || !tell_peer_) {
    return;
  }
  // A call of its own: the other one may be blocked by flow control, or there may be none. If it
  // does not get through, the receiver's own timeout ends the stream.
  v1::ShipOpen open = Open();
  *open.mutable_abort() = ToFailure(*error_);
  lock.unlock();
  auto call = ShipClientCall::Start(*stub_, events_, open);
  lock.lock();
  call_ = std::move(call);
  EndCall(lock, limits::kChunkAbortTimeout);
}

}  // namespace migrate
