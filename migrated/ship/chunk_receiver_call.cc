// ShipServerCall: the gRPC side of one call. See chunk_receiver_stream.h.
#include "migrated/ship/chunk_receiver_stream.h"
#include "migrated/ship/grpc_status.h"

namespace migrate {

ShipServerCall* ShipServerCall::Start(std::shared_ptr<StreamRegistry> registry) {
  std::shared_ptr<ShipServerCall> call(new ShipServerCall(std::move(registry)));
  call->self_ = call;
  call->StartRead(&call->message_);
  return call.get();
}

void ShipServerCall::OnDone() {
  // Dropped last: the stream may still hold the lock of this object for a moment.
  const std::shared_ptr<ShipServerCall> self = std::move(self_);
}

void ShipServerCall::HandleOpen() {
  if (!message_.has_open()) {
    RequestFinish(
        ToStatus(MakeError(ErrorCode::kInvalidArgument, "ship: the call does not name a stream")));
    return;
  }
  auto stream = registry_->Open(message_.open());
  if (!stream) {
    RequestFinish(ToStatus(stream.error()));
    return;
  }
  {
    std::lock_guard lock(mutex_);
    stream_ = *stream;
  }
  (*stream)->Attach(self_, message_.open());
  bool cancelled = false;
  {
    std::lock_guard lock(mutex_);
    cancelled = cancelled_;
  }
  if (cancelled) {  // before Attach: OnCancel has found nothing to detach
    (*stream)->Detach(this);
  }
}

void ShipServerCall::OnReadDone(bool ok) {
  std::shared_ptr<ReceiveStream> stream;
  {
    std::lock_guard lock(mutex_);
    stream = stream_;
  }
  if (!ok) {
    if (stream) {
      stream->Detach(this);
    }
    RequestFinish(grpc::Status::OK);
    return;
  }
  if (!stream) {
    HandleOpen();
    return;
  }
  stream->OnChunk(self_, std::move(message_));
}

void ShipServerCall::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  if (!ok) {
    next_ack_.reset();
  }
  WriteOrFinish();
}

void ShipServerCall::OnCancel() {
  std::shared_ptr<ReceiveStream> stream;
  {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    stream = stream_;
  }
  if (stream) {
    stream->Detach(this);
  }
  RequestFinish(grpc::Status::CANCELLED);
}

void ShipServerCall::RequestRead() {
  std::lock_guard lock(mutex_);
  if (!finished_ && !finish_) {
    StartRead(&message_);
  }
}

void ShipServerCall::RequestAck(const v1::ShipAck& ack) {
  std::lock_guard lock(mutex_);
  if (finished_ || finish_) {
    return;
  }
  v1::ShipAck merged = ack;
  if (next_ack_ && next_ack_->has_resume()) {  // the answer to the opening must not get lost
    *merged.mutable_resume() = next_ack_->resume();
  }
  next_ack_ = std::move(merged);
  WriteOrFinish();
}

void ShipServerCall::RequestFinish(grpc::Status status) {
  std::lock_guard lock(mutex_);
  if (finished_ || finish_) {
    return;
  }
  finish_ = std::move(status);
  WriteOrFinish();
}

void ShipServerCall::WriteOrFinish() {
  if (writing_ || finished_) {
    return;
  }
  if (next_ack_ && !cancelled_) {
    writing_ack_ = std::move(*next_ack_);
    next_ack_.reset();
    writing_ = true;
    StartWrite(&writing_ack_);
  } else if (finish_) {
    finished_ = true;
    Finish(*finish_);
  }
}

}  // namespace migrate
