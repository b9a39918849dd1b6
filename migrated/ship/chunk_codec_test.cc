#include "migrated/ship/chunk_codec.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/limits.h"
#include "migrated/ship/chunk_limits.h"
#include "migrated/ship/chunk_rate.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;

std::string RandomText(std::size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::string text(size, '\0');
  for (char& c : text) {
    c = static_cast<char>(random());
  }
  return text;
}

std::string WordText(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i) {
    text += "container " + std::to_string(i * i) + " ";
  }
  text.resize(size);
  return text;
}

Result<std::string> DecodeAgain(const EncodedChunk& chunk, std::size_t raw_size) {
  return ChunkDecoder().Decode(chunk.codec, chunk.data, raw_size, chunk.checksum);
}

TEST(ChunkCodec, RoundTrips) {
  for (const std::size_t size : {0UL, 1UL, 2UL, 33UL, 4096UL, limits::kMaxChunkBytes}) {
    for (const int level : limits::kCompressionLevels) {
      for (const std::string& raw : {RandomText(size, 1), WordText(size), std::string(size, 'x')}) {
        ChunkEncoder encoder;
        const auto chunk = encoder.Encode(raw, level);
        ASSERT_TRUE(chunk);
        EXPECT_LE(chunk->data.size(), raw.size());
        const auto again = DecodeAgain(*chunk, size);
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_EQ(*again, raw);
      }
    }
  }
}

TEST(ChunkCodec, CompressesOnlyWhatShrinks) {
  ChunkEncoder encoder;
  EXPECT_EQ(encoder.Encode(WordText(65536), 1)->codec, ChunkCodec::kZstd);
  EXPECT_EQ(encoder.Encode(WordText(65536), 0)->codec, ChunkCodec::kNone);
  EXPECT_EQ(encoder.Encode(RandomText(65536, 2), 1)->codec, ChunkCodec::kNone);
  // After a failure not even what would shrink is tried, for a while.
  for (int i = 0; i < limits::kCompressionSkipChunks; ++i) {
    EXPECT_EQ(encoder.Encode(WordText(65536), 1)->codec, ChunkCodec::kNone) << i;
  }
  EXPECT_EQ(encoder.Encode(WordText(65536), 1)->codec, ChunkCodec::kZstd);
}

TEST(ChunkCodec, EveryFlippedByteIsFound) {
  const std::string raw = WordText(700);
  for (const int level : {0, 3}) {
    ChunkEncoder encoder;
    const auto chunk = encoder.Encode(raw, level);
    ASSERT_TRUE(chunk);
    for (std::size_t i = 0; i < chunk->data.size(); ++i) {
      EncodedChunk bad = *chunk;
      bad.data[i] = static_cast<char>(bad.data[i] ^ 0x10);
      const auto again = DecodeAgain(bad, raw.size());
      // A zstd frame has bits without a meaning; then the bytes must be right nevertheless.
      if (again) {
        EXPECT_EQ(*again, raw) << i;
      } else {
        EXPECT_EQ(again.error().code, ErrorCode::kDataLoss);
      }
    }
    for (std::size_t size = 0; size < chunk->data.size(); ++size) {
      EncodedChunk bad = *chunk;
      bad.data.resize(size);
      EXPECT_FALSE(DecodeAgain(bad, raw.size())) << size;
    }
  }
}

TEST(ChunkCodec, NeverUnpacksMoreThanAnnounced) {
  ChunkEncoder encoder;
  const auto bomb = encoder.Encode(std::string(limits::kMaxChunkBytes, '\0'), 1);
  ASSERT_TRUE(bomb);
  ASSERT_EQ(bomb->codec, ChunkCodec::kZstd);
  const auto result = DecodeAgain(*bomb, 1000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kDataLoss);
  EXPECT_FALSE(DecodeAgain(*bomb, 0));
}

TEST(LevelTuner, FollowsThePressure) {
  LevelTuner tuner(std::nullopt);
  EXPECT_EQ(tuner.level(), 1);
  for (int i = 0; i < 100; ++i) {
    tuner.Note(ChunkPressure::kNetwork);
  }
  EXPECT_EQ(tuner.level(), limits::kCompressionLevels.back());
  for (int i = 0; i < 100; ++i) {
    tuner.Note(i % 2 == 0 ? ChunkPressure::kNetwork : ChunkPressure::kCpu);
    tuner.Note(ChunkPressure::kNone);
  }
  EXPECT_EQ(tuner.level(), limits::kCompressionLevels.back());
  for (int i = 0; i < 100; ++i) {
    tuner.Note(ChunkPressure::kCpu);
  }
  EXPECT_EQ(tuner.level(), 0);
  LevelTuner fixed(3);
  for (int i = 0; i < 100; ++i) {
    fixed.Note(ChunkPressure::kNetwork);
  }
  EXPECT_EQ(fixed.level(), 3);
}

// Takes chunks of `bytes` for `time` on a made-up clock; the bytes that passed.
std::uint64_t TakeFor(RateLimiter& limiter, RateLimiter::Clock::time_point& now,
                      RateLimiter::Clock::duration time, std::uint64_t bytes) {
  const auto end = now + time;
  std::uint64_t taken = 0;
  while (now < end) {
    const auto wait = limiter.Take(bytes, now);
    taken += wait == wait.zero() ? bytes : 0;
    now += wait;
  }
  return taken;
}

TEST(RateLimiter, HoldsTheRateAndItsChanges) {
  RateLimiter limiter(10'000'000);
  RateLimiter::Clock::time_point now{100s};
  EXPECT_NEAR(static_cast<double>(TakeFor(limiter, now, 10s, 1 << 20)), 1e8, 3e6);
  EXPECT_NEAR(static_cast<double>(TakeFor(limiter, now, 10s, 1000)), 1e8, 3e6);
  limiter.SetRate(1'000'000);
  EXPECT_NEAR(static_cast<double>(TakeFor(limiter, now, 10s, 1 << 20)), 1e7, 3e6);
  limiter.SetRate(0);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(limiter.Take(1 << 30, now), RateLimiter::Clock::duration::zero());
  }
}

}  // namespace
}  // namespace migrate
