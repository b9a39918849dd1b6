// Writes the event log: takes frames as the recorder gets them, closes chunks between events,
// compresses and stores them in a thread of its own, and publishes how far the log is durable.
//
// Append() is a copy under a mutex; any thread may call it, the order of the calls is the order of
// the events. The first failure (of a sink, a bad frame, a queue that stays full) is kept: every
// later call returns it, and nothing more is written. A log is complete only after Close(); an
// object that dies before leaves one that ends with "need more".
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <vector>

#include "base/limits.h"
#include "base/owned_fd.h"
#include "base/result.h"
#include "proto/event_chunk.h"

namespace migrate {

// Where whole chunks go, in order; called by the writer's thread only.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual Result<> Write(const ChunkHeader& header, std::span<const std::byte> chunk) = 0;
  // What was written survives a crash when this returns. A sink that cannot promise that (a stream)
  // returns at once.
  virtual Result<> Sync() = 0;
};

// One file, appended to; must not exist yet.
class FileLogSink : public LogSink {
 public:
  static Result<std::unique_ptr<FileLogSink>> Create(const std::filesystem::path& path);
  Result<> Write(const ChunkHeader& header, std::span<const std::byte> chunk) override;
  Result<> Sync() override;

 private:
  explicit FileLogSink(OwnedFd fd) : fd_(std::move(fd)) {}
  OwnedFd fd_;
};

struct EventLogWriterOptions {
  Epoch epoch{};
  std::size_t chunk_bytes = limits::kLogChunkBytes;  // of frames, before compression
  int compression_level = 1;                         // zstd's; 0: none
  // A sync at most this often (at least daily), and at the end. Zero: after whatever chunks came
  // while the sync before lasted. durable_lsn() follows it.
  std::chrono::milliseconds sync_interval{0};
  std::size_t max_queued_bytes = limits::kMaxLogQueueBytes;
  std::chrono::milliseconds queue_wait = limits::kLogQueueWait;
};

struct EventLogWriterStats {
  std::uint64_t events = 0;
  std::uint64_t chunks = 0;        // written
  std::uint64_t frame_bytes = 0;   // of those
  std::uint64_t stored_bytes = 0;  // of those, headers included
  std::uint64_t syncs = 0;
  std::uint64_t queued_bytes = 0;  // now
  std::chrono::nanoseconds cpu_time{};  // of the writer's thread
};

class EventLogWriter {
 public:
  // At least one sink; durable is what is durable in all of them.
  EventLogWriter(const EventLogWriterOptions& options,
                 std::vector<std::unique_ptr<LogSink>> sinks);
  ~EventLogWriter();
  EventLogWriter(const EventLogWriter&) = delete;
  EventLogWriter& operator=(const EventLogWriter&) = delete;

  // Whole frames, one or many. Waits for room in the queue for at most queue_wait.
  Result<> Append(std::span<const std::byte> frames);

  // Hands what there is to the thread, if it is a whole number of events. FlushOlderThan: if the
  // first event of it has waited that long; call it every few milliseconds.
  Result<> Flush();
  Result<> FlushOlderThan(std::chrono::milliseconds age);

  // Flushes, and waits until durable_lsn() is what recorded_lsn() was at the call.
  Result<> WaitDurable(std::chrono::milliseconds timeout);

  // The last chunk, a sync, the end of the thread. An error if the log is not complete: then too
  // the thread is gone. Nothing may be appended afterwards.
  Result<> Close();

  // Positions: so many events. recorded >= durable.
  std::uint64_t recorded_lsn() const { return recorded_lsn_.load(std::memory_order_acquire); }
  std::uint64_t durable_lsn() const { return durable_lsn_.load(std::memory_order_acquire); }
  EventLogWriterStats stats() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Chunk {
    ChunkHeader header;
    std::vector<std::byte> bytes;  // room for the header, then frames
  };

  void Begin();                                        // of these, each expects the mutex
  Result<std::size_t> Take(std::span<const std::byte> frames);
  bool ChunkIsWhole() const;
  Result<> CloseChunk(std::unique_lock<std::mutex>& lock, bool last);
  Error Fail(Error error);  // keeps the first
  Result<> State() const;

  void Run();  // the thread
  void StoreAll(std::unique_lock<std::mutex>& lock);
  void SyncIfDue(std::unique_lock<std::mutex>& lock);
  Result<> Store(Chunk& chunk);
  Result<> SyncAll();

  const EventLogWriterOptions options_;
  const std::vector<std::unique_ptr<LogSink>> sinks_;
  ChunkPacker packer_;  // the thread's

  mutable std::mutex mutex_;
  std::condition_variable to_thread_;
  std::condition_variable from_thread_;
  Chunk open_;                            // being filled
  Clock::time_point opened_at_;           // its first event
  std::set<std::uint32_t> pending_;       // tasks whose data frames await their syscall
  std::uint64_t next_sequence_ = 0;
  std::deque<Chunk> queue_;
  std::vector<std::vector<std::byte>> spare_;  // buffers to use again
  std::optional<Error> error_;
  bool closing_ = false;
  bool abandoned_ = false;
  std::uint64_t sync_wanted_ = 0;  // somebody waits for this position
  std::uint64_t written_lsn_ = 0;
  Clock::time_point last_sync_{};
  EventLogWriterStats stats_;

  std::atomic<std::uint64_t> recorded_lsn_{0};
  std::atomic<std::uint64_t> durable_lsn_{0};
  std::thread thread_;
};

}  // namespace migrate
