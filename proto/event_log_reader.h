// Reads an event log as its bytes come in: from the network, or from a file that still grows.
//
// The answer is an event, "need more", "end", or "corrupt" with place and reason, and never a guess:
// a chunk is looked at only when its checksum was right, and its epoch, sequence number and first
// LSN are those that must follow. Corrupt is final. Memory is bounded by one chunk
// (limits::kMaxLogChunkBytes, stored and unpacked) and what is fed at once. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "proto/event_chunk.h"
#include "proto/event_frame.h"

namespace migrate {

// Where reading begins. Without an epoch the first chunk's is taken.
struct EventLogStart {
  std::optional<Epoch> epoch = {};
  std::uint64_t sequence = 0;
  std::uint64_t lsn = 0;
};

struct LogCorruption {
  std::uint64_t offset = 0;  // of the chunk, in bytes from where reading began
  std::uint64_t lsn = 0;     // everything before it was read and right
  std::string reason;

  std::string Text() const;
};

// Of the chunks that have been begun.
struct EventLogTotals {
  std::uint64_t chunks = 0;
  std::uint64_t stored_bytes = 0;  // headers included
  std::uint64_t frame_bytes = 0;
  std::uint64_t opened_ns = 0;  // of the first chunk with events
  std::uint64_t closed_ns = 0;  // of the latest
};

class EventLogReader {
 public:
  enum class Status { kEvent, kNeedMore, kEnd, kCorrupt };

  explicit EventLogReader(const EventLogStart& start = {});

  // Adds bytes. Meant to follow kNeedMore: what is fed earlier is kept in memory.
  void Feed(std::span<const std::byte> bytes);

  Status Next();
  // After kEvent; its spans are valid until the next Feed() or Next().
  const Event& event() const { return event_; }
  const LogCorruption& corruption() const { return corruption_; }

  std::uint64_t next_lsn() const { return assembler_.next_lsn(); }
  const std::optional<Epoch>& epoch() const { return epoch_; }  // none before the first chunk
  const EventLogTotals& totals() const { return totals_; }
  bool ended() const { return ended_; }  // the last chunk was read
  // Whether the bytes so far end between two chunks.
  bool between_chunks() const { return !in_chunk_ && read_ == buffer_.size(); }

 private:
  Status Corrupt(std::string reason);
  Status BeginChunk();
  Status EndChunk();
  std::string ContinuityProblem(const ChunkHeader& header) const;
  std::span<const std::byte> Frames() const;

  std::optional<Epoch> epoch_;
  std::uint64_t next_sequence_;
  EventAssembler assembler_;
  ChunkUnpacker unpacker_;

  std::vector<std::byte> buffer_;
  std::size_t read_ = 0;       // of buffer_: where the next chunk begins
  std::uint64_t offset_ = 0;   // the same, from the beginning of all
  bool in_chunk_ = false;
  ChunkHeader chunk_;
  std::span<const std::byte> unpacked_;  // of a compressed chunk
  std::size_t frames_done_ = 0;

  bool ended_ = false;
  Event event_;
  bool corrupt_ = false;
  LogCorruption corruption_;
  EventLogTotals totals_;
};

// The same over a file, e.g. DIR/events.log of a recording. kNeedMore: its present end was reached;
// ask again when it may have grown.
class EventLogFile {
 public:
  static Result<EventLogFile> Open(const std::filesystem::path& path,
                                   const EventLogStart& start = {});

  Result<EventLogReader::Status> Next();  // an error if the file cannot be read
  const EventLogReader& reader() const { return reader_; }
  const Event& event() const { return reader_.event(); }

 private:
  EventLogFile(OwnedFd fd, const EventLogStart& start) : fd_(std::move(fd)), reader_(start) {}

  OwnedFd fd_;
  EventLogReader reader_;
  std::vector<std::byte> piece_;
};

}  // namespace migrate
