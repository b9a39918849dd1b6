#include "proto/event_log_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/file_util.h"
#include "base/limits.h"

namespace migrate {

std::string LogCorruption::Text() const {
  return "corrupt at byte " + std::to_string(offset) + ", after LSN " + std::to_string(lsn) + ": " +
         reason;
}

EventLogReader::EventLogReader(const EventLogStart& start)
    : epoch_(start.epoch), next_sequence_(start.sequence), assembler_(start.lsn) {}

EventLogReader::Status EventLogReader::Corrupt(std::string reason) {
  corruption_ = {offset_, assembler_.next_lsn(), std::move(reason)};
  corrupt_ = true;
  // Nothing is read any more.
  buffer_ = {};
  read_ = 0;
  in_chunk_ = false;
  return Status::kCorrupt;
}

void EventLogReader::Feed(std::span<const std::byte> bytes) {
  if (corrupt_) {
    return;
  }
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(read_));
  read_ = 0;
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

std::string EventLogReader::ContinuityProblem(const ChunkHeader& header) const {
  if (epoch_ && header.epoch != *epoch_) {
    return "a chunk of another epoch";
  }
  if (header.sequence != next_sequence_) {
    return "chunk " + std::to_string(header.sequence) + " where " +
           std::to_string(next_sequence_) + " must follow";
  }
  if (header.first_lsn != assembler_.next_lsn()) {
    return "a chunk begins with LSN " + std::to_string(header.first_lsn);
  }
  return {};
}

// kEvent: a chunk has been begun.
EventLogReader::Status EventLogReader::BeginChunk() {
  const auto rest = std::span<const std::byte>(buffer_).subspan(read_);
  if (ended_) {
    return rest.empty() ? Status::kEnd : Corrupt("something follows the last chunk");
  }
  ChunkHeaderResult parsed = ParseChunkHeader(rest);
  if (parsed.status == ChunkStatus::kCorrupt) {
    return Corrupt(std::move(parsed.reason));
  }
  if (parsed.status == ChunkStatus::kNeedMore) {
    return Status::kNeedMore;
  }
  if (std::string problem = ContinuityProblem(parsed.header); !problem.empty()) {
    return Corrupt(std::move(problem));
  }
  if (rest.size() - kChunkHeaderBytes < parsed.header.stored_bytes) {
    return Status::kNeedMore;
  }
  chunk_ = parsed.header;
  auto frames = unpacker_.Unpack(chunk_, rest.subspan(kChunkHeaderBytes, chunk_.stored_bytes));
  if (!frames) {
    return Corrupt(std::move(frames.error().message));
  }
  unpacked_ = *frames;
  frames_done_ = 0;
  in_chunk_ = true;
  epoch_ = chunk_.epoch;
  ++totals_.chunks;
  totals_.stored_bytes += kChunkHeaderBytes + chunk_.stored_bytes;
  totals_.frame_bytes += chunk_.frame_bytes;
  if (chunk_.event_count > 0) {
    totals_.opened_ns = totals_.opened_ns == 0 ? chunk_.opened_ns : totals_.opened_ns;
    totals_.closed_ns = chunk_.closed_ns;
  }
  return Status::kEvent;
}

// kEvent: nothing was wrong with it.
EventLogReader::Status EventLogReader::EndChunk() {
  if (assembler_.pending()) {
    return Corrupt("a chunk ends in the middle of an event");
  }
  if (assembler_.next_lsn() != chunk_.first_lsn + chunk_.event_count) {
    return Corrupt("a chunk has another number of events than it says");
  }
  in_chunk_ = false;
  ended_ = chunk_.last;
  ++next_sequence_;
  read_ += kChunkHeaderBytes + chunk_.stored_bytes;
  offset_ += kChunkHeaderBytes + chunk_.stored_bytes;
  return Status::kEvent;
}

// Frames that are not compressed lie in buffer_, which Feed() moves.
std::span<const std::byte> EventLogReader::Frames() const {
  if (chunk_.compression != ChunkCompression::kNone) {
    return unpacked_;
  }
  return std::span<const std::byte>(buffer_).subspan(read_ + kChunkHeaderBytes,
                                                     chunk_.frame_bytes);
}

EventLogReader::Status EventLogReader::Next() {
  if (corrupt_) {
    return Status::kCorrupt;
  }
  for (;;) {
    if (!in_chunk_) {
      if (const Status begun = BeginChunk(); begun != Status::kEvent) {
        return begun;
      }
    }
    const auto rest = Frames().subspan(frames_done_);
    if (rest.empty()) {
      if (const Status ended = EndChunk(); ended != Status::kEvent) {
        return ended;
      }
      continue;
    }
    const FrameResult frame = ParseFrame(rest, event_);
    if (frame.status == FrameStatus::kCorrupt) {
      return Corrupt(std::string(frame.reason));
    }
    if (frame.status == FrameStatus::kNeedMore) {
      return Corrupt("a chunk ends in the middle of a frame");
    }
    frames_done_ += frame.size;
    const EventAssembler::Status added = assembler_.Add(event_);
    if (added == EventAssembler::Status::kCorrupt) {
      return Corrupt(std::string(assembler_.reason()));
    }
    if (added == EventAssembler::Status::kEvent) {
      return Status::kEvent;
    }
  }
}

Result<EventLogFile> EventLogFile::Open(const std::filesystem::path& path,
                                        const EventLogStart& start) {
  return EventLogFile(TRY(OpenFile(path, O_RDONLY)), start);
}

Result<EventLogReader::Status> EventLogFile::Next() {
  for (;;) {
    const EventLogReader::Status status = reader_.Next();
    if (status != EventLogReader::Status::kNeedMore) {
      return status;
    }
    piece_.resize(limits::kLogChunkBytes);
    const ssize_t size = ::read(fd_.get(), piece_.data(), piece_.size());
    if (size < 0 && errno == EINTR) {
      continue;
    }
    if (size < 0) {
      return ErrnoError("read the event log");
    }
    if (size == 0) {
      return status;
    }
    reader_.Feed(std::span(piece_).first(static_cast<std::size_t>(size)));
  }
}

}  // namespace migrate
