// The event log reader on hostile bytes. The first byte says what the others are: a log as it is, a
// log whose checksums are put right first (nothing changed would come past them), or the frames of
// one chunk. The second byte is how many bytes are fed at once: it must not matter.
#include <algorithm>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/limits.h"
#include "proto/event_log_reader.h"
#include "proto/event_log_samples.h"
#include "proto/fuzz/fuzz_target.h"

namespace migrate {
namespace {

using Status = EventLogReader::Status;

enum class Input { kLog, kUnsignedLog, kFrames, kCount };

// What came out, so that two readings can be compared.
struct Reading {
  std::uint64_t digest = 0;
  std::uint64_t events = 0;
  Status status = Status::kNeedMore;

  friend bool operator==(const Reading&, const Reading&) = default;
};

void Mix(Reading& reading, std::uint64_t value) {
  reading.digest = (reading.digest ^ value) * 0x9e3779b97f4a7c15;
}

void Take(Reading& reading, const Event& event) {
  CHECK(event.lsn == reading.events);
  CHECK(event.kind > EVENT_DATA || event.kind == EVENT_SYSCALL);
  CHECK(event.kind < EVENT_KIND_COUNT && event.file < FD_CLASS_COUNT);
  CHECK(event.arg_count <= EVENT_MAX_ARGS);
  CHECK(event.spans.size() <= limits::kMaxSpansPerEvent);
  CHECK(event.DataBytes() <= EVENT_MAX_SYSCALL_DATA);
  ++reading.events;
  Mix(reading, event.tid);
  Mix(reading, event.number);
  Mix(reading, static_cast<std::uint64_t>(event.result));
  for (const std::uint64_t arg : event.args) {
    Mix(reading, arg);
  }
  for (const EventSpan& span : event.spans) {
    Mix(reading, span.address);
    Mix(reading, LogChecksum(span.bytes));
  }
}

Reading Read(std::span<const std::byte> log, std::size_t piece) {
  EventLogReader reader;
  Reading reading;
  while (!log.empty() && reading.status != Status::kCorrupt) {
    const auto part = log.first(std::min(piece, log.size()));
    log = log.subspan(part.size());
    reader.Feed(part);
    while ((reading.status = reader.Next()) == Status::kEvent) {
      Take(reading, reader.event());
    }
  }
  CHECK(reader.next_lsn() == reading.events);
  CHECK(reading.status != Status::kCorrupt || !reader.corruption().reason.empty());
  return reading;
}

// Offsets are those of docs/event-log.md.
void Sign(std::span<std::byte> log) {
  while (log.size() >= kChunkHeaderBytes) {
    std::uint32_t stored;
    std::memcpy(&stored, log.data() + 56, sizeof stored);
    stored = std::min(stored, static_cast<std::uint32_t>(log.size() - kChunkHeaderBytes));
    std::memcpy(log.data() + 56, &stored, sizeof stored);
    const std::uint64_t payload = LogChecksum(log.subspan(kChunkHeaderBytes, stored));
    std::memcpy(log.data() + 80, &payload, sizeof payload);
    const std::uint64_t header = LogChecksum(log.first(88));
    std::memcpy(log.data() + 88, &header, sizeof header);
    log = log.subspan(kChunkHeaderBytes + stored);
  }
}

// As many as there would be if each frame were as long as it says.
std::uint32_t GuessEvents(std::span<const std::byte> frames) {
  std::uint32_t events = 0;
  event_frame head;
  while (frames.size() >= sizeof head) {
    std::memcpy(&head, frames.data(), sizeof head);
    events += head.kind == EVENT_DATA ? 0 : 1;
    frames = frames.subspan(
        std::min<std::size_t>(std::max<std::size_t>(head.size, sizeof head), frames.size()));
  }
  return events;
}

std::vector<std::byte> Wrap(std::span<const std::byte> frames) {
  std::vector<std::byte> chunk(kChunkHeaderBytes);
  chunk.insert(chunk.end(), frames.begin(), frames.end());
  ChunkHeader header;
  header.event_count = GuessEvents(frames);
  header.last = true;
  ChunkPacker packer(0);
  packer.Pack(header, chunk);
  return chunk;
}

}  // namespace

std::vector<std::vector<std::byte>> FuzzSeeds() {
  std::vector<std::vector<std::byte>> seeds;
  const auto add = [&seeds](Input input, int piece, const std::vector<std::byte>& bytes) {
    std::vector<std::byte> seed = {static_cast<std::byte>(input), static_cast<std::byte>(piece)};
    seed.insert(seed.end(), bytes.begin(), bytes.end());
    seeds.push_back(std::move(seed));
  };
  for (const int level : {0, 1}) {
    const auto log = SampleLog({EveryKindOfFrame(), SampleFrames(5), SampleFrames(3, 2)}, level);
    add(Input::kLog, 7, log);
    add(Input::kUnsignedLog, 100, log);
  }
  add(Input::kUnsignedLog, 1, SampleLog({SampleFrames(1)}, 0));
  add(Input::kFrames, 50, EveryKindOfFrame());
  add(Input::kFrames, 3, SampleFrames(10));
  return seeds;
}

}  // namespace migrate

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace migrate;
  if (size < 2) {
    return 0;
  }
  const auto input = static_cast<Input>(data[0] % static_cast<int>(Input::kCount));
  const std::size_t piece = data[1] + std::size_t{1};
  const auto rest = std::as_bytes(std::span(data, size)).subspan(2);
  std::vector<std::byte> log(rest.begin(), rest.end());
  if (input == Input::kUnsignedLog) {
    Sign(log);
  } else if (input == Input::kFrames) {
    log = Wrap(log);
  }
  CHECK(Read(log, log.size() + 1) == Read(log, piece));
  return 0;
}
