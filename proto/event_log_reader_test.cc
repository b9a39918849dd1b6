#include "proto/event_log_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/limits.h"
#include "proto/event_log_samples.h"

namespace migrate {
namespace {

using ::testing::HasSubstr;
using Status = EventLogReader::Status;

// Everything that is in an event, as a number.
std::uint64_t Digest(const Event& event) {
  const std::uint64_t head[] = {event.lsn,  event.kind,   event.flags,
                                event.file, event.tid,    event.number,
                                static_cast<std::uint64_t>(event.result), event.arg_count};
  std::uint64_t digest = XXH3_64bits(head, sizeof head);
  digest = XXH3_64bits_withSeed(event.args.data(), sizeof event.args, digest);
  for (const EventSpan& span : event.spans) {
    digest = XXH3_64bits_withSeed(span.bytes.data(), span.bytes.size(),
                                  digest ^ span.address ^ span.flags);
  }
  return digest;
}

struct Read {
  std::vector<std::uint64_t> events;
  Status status = Status::kNeedMore;
  std::string reason;
};

void ReadOn(EventLogReader& reader, Read& read) {
  while ((read.status = reader.Next()) == Status::kEvent) {
    read.events.push_back(Digest(reader.event()));
  }
  if (read.status == Status::kCorrupt) {
    read.reason = reader.corruption().reason;
  }
}

Read ReadAll(std::span<const std::byte> log, std::size_t piece = ~std::size_t{0}) {
  EventLogReader reader;
  Read read;
  while (!log.empty() && read.status == Status::kNeedMore) {
    const auto part = log.first(std::min(piece, log.size()));
    log = log.subspan(part.size());
    reader.Feed(part);
    ReadOn(reader, read);
  }
  return read;
}

// What was read is a beginning of what is right.
bool IsPrefix(const std::vector<std::uint64_t>& part, const std::vector<std::uint64_t>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

std::vector<std::byte> SmallLog(int level) {
  return SampleLog({EveryKindOfFrame(), SampleFrames(20), SampleFrames(7, 2)}, level);
}

TEST(EventLogReader, ReadsWhatWasWritten) {
  for (const int level : {0, 1}) {
    const auto log = SmallLog(level);
    const Read whole = ReadAll(log);
    EXPECT_EQ(whole.status, Status::kEnd) << whole.reason;
    EXPECT_EQ(whole.events.size(), 12u + 20 + 7);
    for (const std::size_t piece : {1, 2, 3, 7, 64, 100, 1000}) {
      const Read read = ReadAll(log, piece);
      EXPECT_EQ(read.status, Status::kEnd) << read.reason;
      EXPECT_EQ(read.events, whole.events) << piece;
    }
  }
}

TEST(EventLogReader, TruncatedAtEveryByte) {
  for (const int level : {0, 1}) {
    const auto log = SmallLog(level);
    const Read whole = ReadAll(log);
    for (std::size_t size = 1; size < log.size(); ++size) {
      const Read read = ReadAll(std::span(log).first(size));
      ASSERT_EQ(read.status, Status::kNeedMore) << size << " " << read.reason;
      ASSERT_TRUE(IsPrefix(read.events, whole.events)) << size;
    }
  }
}

TEST(EventLogReader, EveryByteChanged) {
  for (const int level : {0, 1}) {
    const auto log = SmallLog(level);
    const Read whole = ReadAll(log);
    for (std::size_t i = 0; i < log.size(); ++i) {
      for (const std::byte flip : {std::byte{1}, std::byte{0x80}, std::byte{0xff}}) {
        auto changed = log;
        changed[i] ^= flip;
        const Read read = ReadAll(changed);
        ASSERT_EQ(read.status, Status::kCorrupt) << i;
        ASSERT_TRUE(IsPrefix(read.events, whole.events)) << i;
      }
    }
  }
}

// A changed size must not make the reader wait for bytes that never come.
TEST(EventLogReader, AFlippedSizeIsSeenAtOnce) {
  auto log = SmallLog(0);
  log[58] ^= std::byte{0x10};  // of the first chunk's stored bytes
  EventLogReader reader;
  reader.Feed(std::span(log).first(kChunkHeaderBytes));
  EXPECT_EQ(reader.Next(), Status::kCorrupt);
}

TEST(EventLogReader, BytesLeftOutOrTwice) {
  const auto log = SmallLog(1);
  const Read whole = ReadAll(log);
  for (std::size_t i = 0; i + 8 <= log.size(); i += 3) {
    auto shorter = log;
    shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(i));
    auto longer = log;
    longer.insert(longer.begin() + static_cast<std::ptrdiff_t>(i), longer[i]);
    for (const auto& changed : {shorter, longer}) {
      const Read read = ReadAll(changed);
      ASSERT_NE(read.status, Status::kEnd) << i;
      ASSERT_TRUE(IsPrefix(read.events, whole.events)) << i;
    }
  }
}

TEST(EventLogReader, ChunksInTheWrongOrderOrOfAnotherLog) {
  const auto one = SampleLog({SampleFrames(3)}, 0, false);
  const auto two = SampleLog({SampleFrames(3), SampleFrames(3, 2)}, 0, true);
  const auto joined = [](const auto& a, const auto& b) {
    auto log = a;
    log.insert(log.end(), b.begin(), b.end());
    return log;
  };
  EXPECT_THAT(ReadAll(joined(one, one)).reason, HasSubstr("chunk 0 where 1 must follow"));
  EXPECT_THAT(ReadAll(joined(two, one)).reason, HasSubstr("follows the last chunk"));
  const auto second = std::vector<std::byte>(two.begin() + static_cast<std::ptrdiff_t>(one.size()),
                                             two.end());
  EXPECT_EQ(ReadAll(joined(one, second)).status, Status::kEnd);
  EXPECT_THAT(ReadAll(second).reason, HasSubstr("chunk 1 where 0 must follow"));

  const auto change = [&](auto edit) {
    auto log = joined(one, second);
    auto header = ParseChunkHeader(std::span(log).subspan(one.size())).header;
    edit(header);
    WriteChunkHeader(header,
                     std::span(log).subspan(one.size()).template first<kChunkHeaderBytes>());
    return ReadAll(log).reason;
  };
  EXPECT_THAT(change([](ChunkHeader& h) { h.epoch = EpochOf("fedcba9876543210"); }),
              HasSubstr("another epoch"));
  EXPECT_THAT(change([](ChunkHeader& h) { h.first_lsn = 4; }), HasSubstr("begins with LSN 4"));
  EXPECT_THAT(change([](ChunkHeader& h) { h.event_count = 2; }), HasSubstr("number of events"));
}

TEST(EventLogReader, AnEventDoesNotLieInTwoChunks) {
  const auto data = FrameBuilder(EVENT_DATA, 7).Span(0x1000, "abc").Build();
  auto frames = SampleFrames(1);
  frames.insert(frames.end(), data.begin(), data.end());
  EXPECT_THAT(ReadAll(SampleLog({frames, SampleFrames(1)}, 0)).reason,
              HasSubstr("in the middle of an event"));
}

TEST(EventLogReader, BeginsWhereItIsTold) {
  const auto one = SampleLog({SampleFrames(3)}, 0, false);
  const auto two = SampleLog({SampleFrames(3), SampleFrames(4, 2)}, 0, true);
  EventLogReader reader({EpochOf(kSampleEpoch), 1, 3});
  reader.Feed(std::span(two).subspan(one.size()));
  Read read;
  ReadOn(reader, read);
  EXPECT_EQ(read.status, Status::kEnd) << read.reason;
  EXPECT_EQ(read.events.size(), 4u);
  EXPECT_EQ(reader.next_lsn(), 7u);
}

// Corrupt stays corrupt, and says where.
TEST(EventLogReader, CorruptIsFinal) {
  auto log = SmallLog(0);
  const auto first = ParseChunkHeader(log).header;
  const std::size_t second_at = kChunkHeaderBytes + first.stored_bytes;
  log[second_at + kChunkHeaderBytes + 5] ^= std::byte{1};
  EventLogReader reader;
  reader.Feed(log);
  Read read;
  ReadOn(reader, read);
  EXPECT_EQ(read.events.size(), first.event_count);
  EXPECT_EQ(reader.corruption().offset, second_at);
  EXPECT_EQ(reader.corruption().lsn, first.event_count);
  EXPECT_THAT(reader.corruption().Text(), HasSubstr("checksum"));
  reader.Feed(SmallLog(0));
  EXPECT_EQ(reader.Next(), Status::kCorrupt);
}

// Feeding in the middle of a chunk moves the bytes that its events point to.
TEST(EventLogReader, FeedBetweenTheEventsOfAChunk) {
  for (const int level : {0, 1}) {
    const auto log = SmallLog(level);
    const Read whole = ReadAll(log);
    const std::size_t first = kChunkHeaderBytes + ParseChunkHeader(log).header.stored_bytes;
    EventLogReader reader;
    reader.Feed(std::span(log).first(first));
    Read read;
    auto rest = std::span(log).subspan(first);
    while (reader.Next() == Status::kEvent) {
      read.events.push_back(Digest(reader.event()));
      const auto part = rest.first(std::min<std::size_t>(rest.size(), 40));
      reader.Feed(part);
      rest = rest.subspan(part.size());
    }
    reader.Feed(rest);
    ReadOn(reader, read);
    EXPECT_EQ(read.status, Status::kEnd);
    EXPECT_EQ(read.events, whole.events);
  }
}

TEST(EventLogReader, ALargeSyscallInSmallPieces) {
  const auto log = SampleLog({SampleFrames(5), EveryKindOfFrame(60'000)}, 1);
  const Read read = ReadAll(log, 4096);
  EXPECT_EQ(read.status, Status::kEnd) << read.reason;
  EXPECT_EQ(read.events.size(), 17u);
}

TEST(EventLogFile, FollowsAGrowingFile) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "event_log_file_test.log";
  std::filesystem::remove(path);
  EXPECT_EQ(EventLogFile::Open(path).error().code, ErrorCode::kNotFound);
  const auto log = SmallLog(1);
  std::ofstream out(path, std::ios::binary);
  out.flush();
  auto file = EventLogFile::Open(path);
  ASSERT_TRUE(file.has_value());
  std::size_t events = 0;
  EventLogReader::Status status = Status::kNeedMore;
  for (std::size_t at = 0; at < log.size(); at += 50) {
    out.write(reinterpret_cast<const char*>(log.data()) + at,
              static_cast<std::streamsize>(std::min<std::size_t>(50, log.size() - at)));
    out.flush();
    while ((status = file->Next().value()) == Status::kEvent) {
      ++events;
    }
  }
  EXPECT_EQ(status, Status::kEnd);
  EXPECT_EQ(events, 39u);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace migrate
