// Internal to the sender; speaks gRPC. One call of Shipping.Ship, turned into state that the
// sender's thread looks at: everything is guarded by the mutex that they share, and every change
// notifies its condition variable. Nothing here blocks.
//
// The sender's thread owns the call, and destroys it only when it is done. It must not be one of
// gRPC's threads that does: the call holds the channel, and if that was the last one in the
// process, the library would join the very thread that it runs on.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "proto/ship.grpc.pb.h"

namespace migrate {

struct CallEvents {
  std::mutex mutex;
  std::condition_variable changed;
  // Called with the lock held when a write has ended, so that the next one starts even while the
  // sender's thread is busy with the encoding. May be empty.
  std::function<void()> write_more;
};

class ShipClientCall final : public grpc::ClientBidiReactor<v1::ShipChunk, v1::ShipAck> {
 public:
  // Starts the call and sends `open`. The lock is not held.
  static std::unique_ptr<ShipClientCall> Start(v1::Shipping::Stub& stub,
                                               std::shared_ptr<CallEvents> events,
                                               const v1::ShipOpen& open);

  ~ShipClientCall() override;  // only when done()

  // The lock is held for all of these.
  bool CanWrite() const { return resume_ && !writing_ && !broken_ && !done_; }
  void Write(const v1::ShipChunk& chunk);  // serialises at once: the chunk is only borrowed
  void Cancel();                           // done() follows soon
  const std::optional<v1::ShipResume>& resume() const { return resume_; }
  const v1::ShipAck& ack() const { return ack_; }  // the newest
  bool done() const { return done_; }
  const grpc::Status& status() const { return status_; }  // once done

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  explicit ShipClientCall(std::shared_ptr<CallEvents> events) : events_(std::move(events)) {}

  const std::shared_ptr<CallEvents> events_;
  grpc::ClientContext context_;
  v1::ShipChunk opening_;
  v1::ShipAck reading_;
  v1::ShipAck ack_;
  std::optional<v1::ShipResume> resume_;
  grpc::Status status_;
  bool writing_ = false;
  bool broken_ = false;  // no further write is possible
  bool done_ = false;
};

}  // namespace migrate
