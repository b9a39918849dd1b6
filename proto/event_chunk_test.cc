#include "proto/event_chunk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>

#include "base/limits.h"
#include "proto/event_log_samples.h"

namespace migrate {
namespace {

using ::testing::HasSubstr;

std::vector<std::byte> Chunk(int level, ChunkHeader& header, std::size_t events = 1000) {
  const auto frames = SampleFrames(events);
  std::vector<std::byte> chunk(kChunkHeaderBytes);
  chunk.insert(chunk.end(), frames.begin(), frames.end());
  header.epoch = EpochOf(kSampleEpoch);
  header.sequence = 3;
  header.first_lsn = 12345;
  header.event_count = static_cast<std::uint32_t>(events);
  header.opened_ns = 1;
  header.closed_ns = 2;
  ChunkPacker packer(level);
  const auto packed = packer.Pack(header, chunk);
  return {packed.begin(), packed.end()};
}

TEST(EventChunk, PackedIsUnpacked) {
  for (const int level : {0, 1, 3}) {
    ChunkHeader header;
    const auto chunk = Chunk(level, header);
    const ChunkHeaderResult parsed = ParseChunkHeader(chunk);
    ASSERT_EQ(parsed.status, ChunkStatus::kHeader) << parsed.reason;
    EXPECT_EQ(parsed.header, header);
    EXPECT_EQ(chunk.size(), kChunkHeaderBytes + header.stored_bytes);
    EXPECT_EQ(header.compression == ChunkCompression::kZstd, level != 0);
    ChunkUnpacker unpacker;
    const auto frames =
        unpacker.Unpack(parsed.header, std::span(chunk).subspan(kChunkHeaderBytes));
    ASSERT_TRUE(frames.has_value()) << frames.error().message;
    const auto expected = SampleFrames(1000);
    EXPECT_TRUE(std::equal(frames->begin(), frames->end(), expected.begin(), expected.end()));
  }
}

TEST(EventChunk, WhatDoesNotShrinkIsStoredPlain) {
  std::string noise;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    noise.push_back(static_cast<char>(XXH3_64bits(&i, sizeof i)));
  }
  std::vector<std::byte> chunk(kChunkHeaderBytes);
  FrameBuilder(EVENT_CLOCKS).Span(0x1000, noise).AppendTo(chunk);
  ChunkHeader header;
  header.event_count = 1;
  ChunkPacker packer(1);
  const auto packed = packer.Pack(header, chunk);
  EXPECT_EQ(header.compression, ChunkCompression::kNone);
  EXPECT_EQ(packed.size(), chunk.size());
  EXPECT_EQ(ParseChunkHeader(packed).header, header);
}

TEST(EventChunk, TheVersionIsReadableAlone) {
  ChunkHeader header;
  auto chunk = Chunk(0, header, 1);
  chunk.resize(16);
  EXPECT_EQ(ParseChunkHeader(chunk).status, ChunkStatus::kNeedMore);
  chunk[8] = std::byte{9};
  const ChunkHeaderResult parsed = ParseChunkHeader(chunk);
  EXPECT_EQ(parsed.status, ChunkStatus::kCorrupt);
  EXPECT_THAT(parsed.reason, HasSubstr("version 9.1"));
}

TEST(EventChunk, SomethingElseIsKnownByItsFirstByte) {
  EXPECT_EQ(ParseChunkHeader({}).status, ChunkStatus::kNeedMore);
  const std::byte other[] = {std::byte{'x'}};
  EXPECT_EQ(ParseChunkHeader(other).status, ChunkStatus::kCorrupt);
}

TEST(EventChunk, FlippedBytesOfTheHeader) {
  ChunkHeader header;
  const auto chunk = Chunk(1, header, 100);
  for (std::size_t i = 0; i < kChunkHeaderBytes; ++i) {
    for (const std::byte flip : {std::byte{1}, std::byte{0x80}, std::byte{0xff}}) {
      auto changed = chunk;
      changed[i] ^= flip;
      EXPECT_EQ(ParseChunkHeader(changed).status, ChunkStatus::kCorrupt) << i;
    }
  }
}

// A header whose checksum is right, but which nobody may write.
TEST(EventChunk, ImpossibleClaimsAreRefused) {
  const auto reason = [](auto change) {
    ChunkHeader header;
    header.event_count = 1;
    header.frame_bytes = header.stored_bytes = 24;
    change(header);
    std::array<std::byte, kChunkHeaderBytes> bytes;
    WriteChunkHeader(header, bytes);
    return ParseChunkHeader(bytes).reason;
  };
  EXPECT_EQ(reason([](ChunkHeader&) {}), "");
  EXPECT_THAT(reason([](ChunkHeader& h) {
                h.frame_bytes = h.stored_bytes = limits::kMaxLogChunkBytes + 1;
              }),
              HasSubstr("larger than one may be"));
  EXPECT_THAT(reason([](ChunkHeader& h) { h.stored_bytes = 25; }), HasSubstr("contradict"));
  EXPECT_THAT(reason([](ChunkHeader& h) { h.stored_bytes = 23; }), HasSubstr("contradict"));
  EXPECT_THAT(reason([](ChunkHeader& h) { h.event_count = 2; }), HasSubstr("hold its events"));
  EXPECT_THAT(reason([](ChunkHeader& h) { h.event_count = 0; }), HasSubstr("hold its events"));
  EXPECT_THAT(
      reason([](ChunkHeader& h) { h.event_count = h.frame_bytes = h.stored_bytes = 0; }),
      HasSubstr("not the last"));
  EXPECT_THAT(reason([](ChunkHeader& h) { h.first_lsn = ~std::uint64_t{0}; }),
              HasSubstr("wrap around"));
  EXPECT_THAT(reason([](ChunkHeader& h) { h.compression = ChunkCompression{2}; }),
              HasSubstr("not known"));
}

// Size claims of header and zstd frame are compared before anything is unpacked.
TEST(EventChunk, ACompressedChunkOfAnotherSize) {
  ChunkHeader header;
  auto chunk = Chunk(1, header);
  ASSERT_EQ(header.compression, ChunkCompression::kZstd);
  const auto stored = std::span(chunk).subspan(kChunkHeaderBytes);
  ChunkUnpacker unpacker;
  header.frame_bytes -= 8;
  EXPECT_FALSE(unpacker.Unpack(header, stored).has_value());
  header.frame_bytes += 16;
  EXPECT_FALSE(unpacker.Unpack(header, stored).has_value());
  header.frame_bytes -= 8;
  EXPECT_TRUE(unpacker.Unpack(header, stored).has_value());
  // Right checksum, broken zstd: a byte too many, garbage.
  std::vector<std::byte> longer(stored.begin(), stored.end());
  longer.push_back(std::byte{0});
  header.stored_bytes += 1;
  header.payload_checksum = LogChecksum(longer);
  EXPECT_FALSE(unpacker.Unpack(header, longer).has_value());
  for (std::size_t i = 0; i < longer.size(); i += 7) {
    auto garbage = longer;
    garbage.pop_back();
    garbage[i] ^= std::byte{0x55};
    header.stored_bytes = static_cast<std::uint32_t>(garbage.size());
    header.payload_checksum = LogChecksum(garbage);
    const auto frames = unpacker.Unpack(header, garbage);
    EXPECT_TRUE(!frames || frames->size() == header.frame_bytes);
  }
}

}  // namespace
}  // namespace migrate
