#include "migrated/ship/chunk_sender_call.h"

#include "base/check.h"

namespace migrate {

std::unique_ptr<ShipClientCall> ShipClientCall::Start(v1::Shipping::Stub& stub,
                                                      std::shared_ptr<CallEvents> events,
                                                      const v1::ShipOpen& open) {
  std::unique_ptr<ShipClientCall> call(new ShipClientCall(std::move(events)));
  *call->opening_.mutable_open() = open;
  stub.async()->Ship(&call->context_, call.get());
  // Writes are started from outside of gRPC's own callbacks; the hold keeps the call until no more
  // can come, which is when reading has ended.
  call->AddHold();
  call->writing_ = true;
  call->StartWrite(&call->opening_);
  call->StartRead(&call->reading_);
  call->StartCall();
  return call;
}

ShipClientCall::~ShipClientCall() { CHECK(done_); }

void ShipClientCall::Write(const v1::ShipChunk& chunk) {
  CHECK(CanWrite());
  writing_ = true;
  StartWrite(&chunk);
}

void ShipClientCall::Cancel() { context_.TryCancel(); }

void ShipClientCall::OnReadDone(bool ok) {
  {
    std::lock_guard lock(events_->mutex);
    if (ok) {
      if (reading_.has_resume() && !resume_) {
        resume_ = reading_.resume();
      }
      ack_ = reading_;
      StartRead(&reading_);
    } else {
      broken_ = true;
    }
    events_->changed.notify_all();
  }
  if (!ok) {
    RemoveHold();
  }
}

void ShipClientCall::OnWriteDone(bool ok) {
  std::lock_guard lock(events_->mutex);
  writing_ = false;
  broken_ = broken_ || !ok;
  if (!broken_ && events_->write_more) {
    events_->write_more();
  }
  events_->changed.notify_all();
}

void ShipClientCall::OnDone(const grpc::Status& status) {
  // The owner may destroy this object as soon as the lock is released.
  const std::shared_ptr<CallEvents> events = events_;
  std::lock_guard lock(events->mutex);
  broken_ = true;
  done_ = true;
  status_ = status;
  events->changed.notify_all();
}

}  // namespace migrate
