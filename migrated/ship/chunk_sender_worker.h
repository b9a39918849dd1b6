// Internal to the sender; speaks gRPC. The worker is one thread that owns the window: it encodes
// what the producer pushed, writes it to the current call, takes acknowledgements, and replaces a
// call that broke. It is a loop over state under one lock (CallEvents): each step does one thing
// that can be done now, and only if there is none it waits for a change or the next deadline.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <thread>

#include "migrated/ship/chunk_codec.h"
#include "migrated/ship/chunk_sender.h"
#include "migrated/ship/chunk_sender_call.h"

namespace migrate {

class ChunkSender::Worker {
 public:
  Worker(std::shared_ptr<grpc::Channel> channel, StreamKey key, SendOptions options);
  ~Worker();  // Abort first, unless finished

  // The producer's side; blocks for room.
  Result<> Push(std::string raw, bool last);
  Result<> WaitFinished();
  Result<> Check() const;  // cheap; an error of the stream so far

  void Abort(Error error);
  const std::shared_ptr<StreamStatistics>& statistics() const { return statistics_; }
  const StreamKey& key() const { return key_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;
  struct RawChunk {
    std::string bytes;
    bool last = false;
  };

  void Run();
  bool Step(Lock& lock);  // false: nothing to do before a change or wake_at_
  bool StepConnection(Lock& lock);
  bool StepSend();
  bool SendNext();  // also from gRPC's threads
  bool StepEncode(Lock& lock);
  void Connect(Lock& lock);
  void TakeAcknowledgement();
  bool TakeResume();
  void CheckStall();
  void HandleCallEnd();
  void Close(Lock& lock);
  void EndCall(Lock& lock, Clock::duration patience);
  void SetError(Error error, bool tell_peer);
  void WakeAt(Clock::time_point time) { wake_at_ = std::min(wake_at_, time); }
  v1::ShipOpen Open() const;
  ChunkPressure Pressure() const;

  const StreamKey key_;
  const SendOptions options_;
  const std::uint64_t sender_;  // random
  const std::shared_ptr<StreamStatistics> statistics_;
  const std::unique_ptr<v1::Shipping::Stub> stub_;
  const std::shared_ptr<CallEvents> events_ = std::make_shared<CallEvents>();
  std::atomic<bool> failed_ = false;  // error_ is set

  // Of the worker's thread.
  ChunkEncoder encoder_;
  LevelTuner tuner_;
  Clock::time_point wake_at_;

  // Guarded by events_->mutex.
  std::deque<RawChunk> raw_;
  std::deque<v1::ShipChunk> window_;  // encoded, from first_kept_ on
  std::uint64_t first_kept_ = 0;
  std::uint64_t next_sequence_ = 0;  // of the next chunk that is encoded
  std::uint64_t next_offset_ = 0;
  std::uint64_t next_to_send_ = 0;
  std::uint64_t sent_ever_ = 0;  // chunks below were written at least once
  std::uint64_t consumed_ = 0;   // chunks below were read by the peer's reader
  bool last_encoded_ = false;
  bool window_was_full_ = false;
  Clock::time_point progress_at_;
  std::unique_ptr<ShipClientCall> call_;
  bool resumed_ = false;   // the answer to the opening has been looked at
  bool given_up_ = false;  // the call was cancelled by us
  bool connected_before_ = false;
  Clock::time_point opened_at_;
  Clock::time_point retry_at_;
  std::optional<Clock::time_point> rate_wait_until_;
  int attempts_ = 0;  // calls that broke since the last progress
  bool finished_ = false;
  bool tell_peer_ = false;
  std::optional<Error> error_;

  std::thread thread_;
  std::optional<std::stop_callback<std::function<void()>>> cancel_;
};

}  // namespace migrate
