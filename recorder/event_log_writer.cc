#include "recorder/event_log_writer.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/file_util.h"
#include "proto/event_layout.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSpareBuffers = 4;

std::uint64_t WallClockNs() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

EventLogWriterOptions Bounded(EventLogWriterOptions options) {
  options.sync_interval = std::min<std::chrono::milliseconds>(options.sync_interval, 24h);
  return options;
}

std::chrono::nanoseconds ThreadCpuTime() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

Result<std::unique_ptr<FileLogSink>> FileLogSink::Create(const std::filesystem::path& path) {
  OwnedFd fd = TRY(OpenFile(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND));
  return std::unique_ptr<FileLogSink>(new FileLogSink(std::move(fd)));
}

Result<> FileLogSink::Write(const ChunkHeader& /*header*/, std::span<const std::byte> chunk) {
  Result<> written = WriteFully(fd_, chunk.data(), chunk.size());
  if (!written) {
    written.error().message = "the event log cannot be written: " + written.error().message;
  }
  return written;
}

Result<> FileLogSink::Sync() {
  if (fdatasync(fd_.get()) != 0) {
    return ErrnoError("fdatasync of the event log");
  }
  return {};
}

EventLogWriter::EventLogWriter(const EventLogWriterOptions& options,
                               std::vector<std::unique_ptr<LogSink>> sinks)
    : options_(Bounded(options)), sinks_(std::move(sinks)), packer_(options.compression_level) {
  CHECK(!sinks_.empty());
  Begin();
  thread_ = std::thread([this] { Run(); });
}

EventLogWriter::~EventLogWriter() {
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
  }
  to_thread_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void EventLogWriter::Begin() {
  open_ = Chunk{};
  if (!spare_.empty()) {
    open_.bytes = std::move(spare_.back());
    spare_.pop_back();
  } else {
    open_.bytes.reserve(kChunkHeaderBytes + options_.chunk_bytes + EVENT_MAX_FRAME);
  }
  open_.bytes.resize(kChunkHeaderBytes);
  open_.header.epoch = options_.epoch;
  open_.header.sequence = next_sequence_++;
  open_.header.first_lsn = recorded_lsn_.load(std::memory_order_relaxed);
}

Error EventLogWriter::Fail(Error error) {
  if (!error_) {
    error_ = std::move(error);
  }
  from_thread_.notify_all();
  to_thread_.notify_all();
  return *error_;
}

Result<> EventLogWriter::State() const {
  if (error_) {
    return *error_;
  }
  CHECK(!closing_);
  return {};
}

// Looks at the head of each frame: enough to know where events end. What is in them is the reader's
// business. Returns how many bytes were taken: up to where the chunk is full.
Result<std::size_t> EventLogWriter::Take(std::span<const std::byte> frames) {
  const std::size_t size = open_.bytes.size() - kChunkHeaderBytes;
  std::uint32_t events = 0;
  std::size_t at = 0;
  while (at < frames.size() && (size + at < options_.chunk_bytes || !pending_.empty())) {
    event_frame head;
    if (frames.size() - at < sizeof head) {
      return Fail(MakeError(ErrorCode::kInternal, "a cut-off frame for the event log"));
    }
    std::memcpy(&head, frames.data() + at, sizeof head);
    if (head.size < sizeof head || head.size % 8 != 0 || head.size > EVENT_MAX_FRAME ||
        head.size > frames.size() - at) {
      return Fail(
          MakeError(ErrorCode::kInternal,
                    "a frame of a wrong size for the event log: " + std::to_string(head.size) +
                        " bytes, kind " + std::to_string(head.kind) + ", number " +
                        std::to_string(head.number) + ", " + std::to_string(head.span_count) +
                        " spans, where " + std::to_string(frames.size() - at) + " bytes are left"));
    }
    at += head.size;
    if (head.kind == EVENT_DATA) {
      pending_.insert(head.tid);
      continue;
    }
    ++events;
    if (!pending_.empty()) {
      // As the reader does it: a problem is an end.
      if (head.kind == EVENT_PROBLEM) {
        pending_.clear();
      } else if (head.kind == EVENT_SYSCALL) {
        pending_.erase(head.tid);
      }
    }
  }
  if (size == 0) {
    open_.header.opened_ns = WallClockNs();
    opened_at_ = Clock::now();
  }
  if (size + at > limits::kMaxLogChunkBytes) {
    return Fail(MakeError(ErrorCode::kResourceExhausted,
                          "an event is larger than a chunk of the event log may be"));
  }
  open_.bytes.insert(open_.bytes.end(), frames.data(), frames.data() + at);
  open_.header.event_count += events;
  recorded_lsn_.fetch_add(events, std::memory_order_release);
  return at;
}

// Something is in it, and it ends between two events.
bool EventLogWriter::ChunkIsWhole() const {
  return open_.header.event_count > 0 && pending_.empty();
}

Result<> EventLogWriter::CloseChunk(std::unique_lock<std::mutex>& lock, bool last) {
  const bool room = from_thread_.wait_for(lock, options_.queue_wait, [this] {
    return error_ || queue_.empty() ||
           stats_.queued_bytes + open_.bytes.size() <= options_.max_queued_bytes;
  });
  if (error_) {
    return *error_;
  }
  if (!room) {
    return Fail(MakeError(ErrorCode::kResourceExhausted,
                          "the event log is not written as fast as the container is recorded"));
  }
  if (!last && !ChunkIsWhole()) {
    return {};  // another thread went on, or was faster, during the wait
  }
  open_.header.last = last;
  open_.header.closed_ns = WallClockNs();
  stats_.queued_bytes += open_.bytes.size();
  queue_.push_back(std::move(open_));
  Begin();
  to_thread_.notify_one();
  return {};
}

Result<> EventLogWriter::Append(std::span<const std::byte> frames) {
  std::unique_lock lock(mutex_);
  TRY(State());
  while (!frames.empty()) {
    frames = frames.subspan(TRY(Take(frames)));
    if (open_.bytes.size() - kChunkHeaderBytes >= options_.chunk_bytes && ChunkIsWhole()) {
      TRY(CloseChunk(lock, false));
    }
  }
  return {};
}

Result<> EventLogWriter::Flush() { return FlushOlderThan(std::chrono::milliseconds(0)); }

Result<> EventLogWriter::FlushOlderThan(std::chrono::milliseconds age) {
  std::unique_lock lock(mutex_);
  TRY(State());
  if (!ChunkIsWhole() || Clock::now() - opened_at_ < age) {
    return {};
  }
  return CloseChunk(lock, false);
}

Result<> EventLogWriter::WaitDurable(std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  TRY(Flush());
  std::unique_lock lock(mutex_);
  const std::uint64_t lsn = open_.header.first_lsn;  // all before it has been handed over
  sync_wanted_ = std::max(sync_wanted_, lsn);
  to_thread_.notify_one();
  const bool durable =
      from_thread_.wait_until(lock, deadline, [&] { return error_ || durable_lsn() >= lsn; });
  if (error_) {
    return *error_;
  }
  if (!durable) {
    return MakeError(ErrorCode::kDeadlineExceeded, "the event log is not durable in time");
  }
  return {};
}

Result<> EventLogWriter::Close() {
  {
    std::unique_lock lock(mutex_);
    if (!error_) {
      CHECK(!closing_);
      if (pending_.empty()) {
        // An error is kept, and looked at below.
        static_cast<void>(CloseChunk(lock, true).has_value());
      } else {
        Fail(MakeError(ErrorCode::kInternal, "the event log ends in the middle of an event"));
      }
    }
    closing_ = true;
    to_thread_.notify_one();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  const std::lock_guard lock(mutex_);
  return error_ ? Result<>(*error_) : Result<>();
}

EventLogWriterStats EventLogWriter::stats() const {
  const std::lock_guard lock(mutex_);
  EventLogWriterStats stats = stats_;
  stats.events = recorded_lsn();
  return stats;
}

Result<> EventLogWriter::Store(Chunk& chunk) {
  const auto bytes = packer_.Pack(chunk.header, chunk.bytes);
  for (const auto& sink : sinks_) {
    TRY(sink->Write(chunk.header, bytes));
  }
  return {};
}

Result<> EventLogWriter::SyncAll() {
  for (const auto& sink : sinks_) {
    TRY(sink->Sync());
  }
  return {};
}

void EventLogWriter::StoreAll(std::unique_lock<std::mutex>& lock) {
  for (std::deque<Chunk> batch = std::move(queue_); !batch.empty(); batch.pop_front()) {
    Chunk& chunk = batch.front();
    lock.unlock();
    Result<> stored = Store(chunk);
    lock.lock();
    stats_.queued_bytes -= chunk.bytes.size();
    if (!stored) {
      Fail(std::move(stored).error());
    }
    if (error_ || abandoned_) {
      return;
    }
    written_lsn_ = chunk.header.first_lsn + chunk.header.event_count;
    ++stats_.chunks;
    stats_.frame_bytes += chunk.header.frame_bytes;
    stats_.stored_bytes += kChunkHeaderBytes + chunk.header.stored_bytes;
    // Not the giant ones: they would stay for ever.
    if (spare_.size() < kSpareBuffers && chunk.bytes.capacity() < 2 * options_.chunk_bytes) {
      spare_.push_back(std::move(chunk.bytes));
    }
    from_thread_.notify_all();
  }
}

void EventLogWriter::SyncIfDue(std::unique_lock<std::mutex>& lock) {
  const bool due = closing_ || durable_lsn() < sync_wanted_ ||
                   Clock::now() - last_sync_ >= options_.sync_interval;
  if (error_ || abandoned_ || !due) {
    return;
  }
  lock.unlock();
  Result<> synced = SyncAll();
  lock.lock();
  if (!synced) {
    Fail(std::move(synced).error());
    return;
  }
  last_sync_ = Clock::now();
  ++stats_.syncs;
  durable_lsn_.store(written_lsn_, std::memory_order_release);
  from_thread_.notify_all();
}

void EventLogWriter::Run() {
  std::unique_lock lock(mutex_);
  const auto wanted = [this] {
    return abandoned_ || error_ || closing_ || !queue_.empty() ||
           durable_lsn() < std::min(sync_wanted_, written_lsn_);
  };
  for (;;) {
    if (durable_lsn() < written_lsn_) {
      to_thread_.wait_until(lock, last_sync_ + options_.sync_interval, wanted);
    } else {
      to_thread_.wait(lock, wanted);
    }
    const bool last = closing_;
    StoreAll(lock);
    SyncIfDue(lock);
    stats_.cpu_time = ThreadCpuTime();
    if (error_ || abandoned_ || last) {
      return;
    }
  }
}

}  // namespace migrate
