#include "proto/event_log_samples.h"

#include <cstring>
#include <random>
#include <string>

#include "base/check.h"
#include "base/clock_ring.h"

namespace migrate {
namespace {

// Numbers of x86-64; this file needs no table.
constexpr std::uint16_t kRead = 0, kWrite = 1, kFutex = 202, kClockGettime = 228, kEpollWait = 232,
                        kOpenat = 257;

void AppendRequest(std::mt19937_64& random, std::uint32_t tid, std::uint64_t kind,
                   std::vector<std::byte>& out) {
  const std::uint64_t heap = 0x7f0012340000 + (random() % 64) * 4096;
  const std::uint64_t stack = 0x7ffd00001000 + tid * 0x10000;
  if (kind == 0) {
    const std::uint64_t ready[2] = {(random() % 50) << 32 | 1, 0};
    FrameBuilder(EVENT_SYSCALL, tid)
        .Number(kEpollWait)
        .Result(1)
        .File(FD_EPOLL)
        .Args({5, heap, 10128, 97})
        .Span(heap, std::as_bytes(std::span(ready)).first(12))
        .AppendTo(out);
  } else if (kind == 1) {
    const std::string key = std::to_string(random() % 1'000'000);
    std::string text = "*3\r\n$3\r\nSET\r\n$16\r\nkey:" + std::string(12 - key.size(), '0') + key +
                       "\r\n$160\r\n";
    for (int i = 0; i < 160; ++i) {  // compresses by half, as text does
      text.push_back("0123456789abcdef"[random() % 16]);
    }
    text += "\r\n";
    FrameBuilder(EVENT_SYSCALL, tid)
        .Number(kRead)
        .Result(static_cast<std::int64_t>(text.size()))
        .File(FD_SOCKET)
        .Args({8 + random() % 50, heap, 16384})
        .Span(heap, text)
        .AppendTo(out);
  } else if (kind == 2) {
    FrameBuilder(EVENT_SYSCALL, tid)
        .Number(kWrite)
        .Result(5)
        .File(FD_SOCKET)
        .Args({8 + random() % 50, heap, 5})
        .AppendTo(out);
  } else if (kind == 3) {
    const std::uint64_t now[2] = {1'700'000'000 + random() % 100, random() % 1'000'000'000};
    FrameBuilder(EVENT_SYSCALL, tid)
        .Number(kClockGettime)
        .Args({1, stack})
        .Span(stack, std::as_bytes(std::span(now)))
        .AppendTo(out);
  } else {
    FrameBuilder(EVENT_SYSCALL, tid)
        .Number(kFutex)
        .Result(random() % 4 == 0 ? -11 : 1)
        .Args({heap, 0x81, 1, 0, 0, 0})
        .AppendTo(out);
  }
}

}  // namespace

std::vector<std::byte> SampleFrames(std::size_t events, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> frames;
  for (std::size_t i = 0; i < events; ++i) {
    AppendRequest(random, 7 + static_cast<std::uint32_t>(i / 50 % 4), i % 5, frames);
  }
  return frames;
}

std::vector<std::byte> EveryKindOfFrame(std::size_t large_bytes) {
  std::vector<std::byte> out;
  FrameBuilder(EVENT_MARK).Number(MARK_START).AppendTo(out);
  FrameBuilder(EVENT_SYSCALL, 7)
      .Number(kOpenat)
      .Result(-2)
      .Args({static_cast<std::uint64_t>(-100), 0x4000, 0, 0})
      .Span(0x4000, "/etc/ld.so.preload", EVENT_SPAN_INPUT)
      .AppendTo(out);
  FrameBuilder(EVENT_TASK_NEW, 7).Args({8, 7, 0x3d0f00}).AppendTo(out);
  // Data frames, with an event of another task between them and their syscall.
  const std::vector<std::byte> large(large_bytes, std::byte{'x'});
  std::vector<std::byte> read;
  FrameBuilder data(EVENT_DATA, 7);
  const std::size_t half = std::min<std::size_t>(large.size() / 2, EVENT_MAX_DATA);
  data.Span(0x10000, std::span(large).first(half)).AppendTo(out);
  FrameBuilder(EVENT_SWITCH, 7).Args({1, 8}).AppendTo(out);
  FrameBuilder(EVENT_SYSCALL, 7)
      .Number(kRead)
      .Result(static_cast<std::int64_t>(large.size()))
      .Flags(EVENT_FLAG_CONTINUED)
      .File(FD_SOCKET)
      .Args({4, 0x10000, large.size()})
      .Span(0x10000 + half, std::span(large).subspan(half))
      .AppendTo(out);
  FrameBuilder(EVENT_EXEC, 7).Args({8}).Span(0x5000, "/bin/true").AppendTo(out);
  FrameBuilder(EVENT_SIGNAL, 7)
      .Number(17)
      .Args({0x401000, 0, 0x402000})
      .Span(0, std::string(48, '\1'))
      .AppendTo(out);
  const clock_ring_entry reading = {9, CLOCK_GETTIME, 1, 0, {12, 345'678'901}};
  FrameBuilder(EVENT_CLOCKS, 7)
      .Args({9, 1})
      .Span(0x7120, std::as_bytes(std::span(&reading, 1)))
      .AppendTo(out);
  FrameBuilder(EVENT_TSC, 7).Result(123456789).Args({0x401234, 3}).AppendTo(out);
  FrameBuilder(EVENT_PROBLEM, 8).Number(PROBLEM_STARVED).Args({1, 2}).AppendTo(out);
  FrameBuilder(EVENT_TASK_EXIT, 8).Result(0).Args({0}).AppendTo(out);
  FrameBuilder(EVENT_MARK).Number(MARK_END).AppendTo(out);
  return out;
}

std::uint32_t CountEvents(std::span<const std::byte> frames) {
  std::uint32_t events = 0;
  while (!frames.empty()) {
    event_frame head;
    CHECK(frames.size() >= sizeof head);
    std::memcpy(&head, frames.data(), sizeof head);
    CHECK(head.size >= sizeof head && head.size <= frames.size());
    events += head.kind == EVENT_DATA ? 0 : 1;
    frames = frames.subspan(head.size);
  }
  return events;
}

std::vector<std::byte> SampleLog(const std::vector<std::vector<std::byte>>& frames_of_chunks,
                                 int compression_level, bool ended) {
  ChunkPacker packer(compression_level);
  std::vector<std::byte> log;
  ChunkHeader header;
  header.epoch = EpochOf(kSampleEpoch);
  header.opened_ns = 1'700'000'000'000'000'000;
  for (const std::vector<std::byte>& frames : frames_of_chunks) {
    std::vector<std::byte> chunk(kChunkHeaderBytes);
    chunk.insert(chunk.end(), frames.begin(), frames.end());
    header.event_count = CountEvents(frames);
    header.last = ended && &frames == &frames_of_chunks.back();
    header.closed_ns = header.opened_ns + 10'000'000;
    const auto packed = packer.Pack(header, chunk);
    log.insert(log.end(), packed.begin(), packed.end());
    ++header.sequence;
    header.first_lsn += header.event_count;
    header.opened_ns = header.closed_ns;
  }
  return log;
}

}  // namespace migrate
