// The bulk transport where all goes well: content, flow control, rate, cancellation.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <future>
#include <set>
#include <thread>

#include "base/limits.h"
#include "migrated/ship/chunk_test_util.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;
using testing::ByteMaker;
using testing::Bytes;
using testing::kMigration;
using testing::ReadAndCompare;
using testing::TestPeer;
using testing::WriteAll;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMiB = 1024 * 1024;

class ChunkStreamTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(peer_.service().ExpectStreams(kMigration)); }

  StreamKey Key(std::string name = "files", std::uint32_t number = 0) const {
    return {kMigration, std::move(name), number};
  }

  // The target's side: accepts and reads all on a thread of its own.
  std::future<Result<std::size_t>> ReadAsync(StreamKey key, ByteMaker maker,
                                             ReceiveOptions options = {}) {
    return std::async(std::launch::async, [this, key, maker, options]() -> Result<std::size_t> {
      auto source = TRY(peer_.service().Accept(key, options));
      return ReadAndCompare(*source, maker);
    });
  }

  void Ship(std::size_t total, std::size_t piece, bool compressible, SendOptions options = {}) {
    auto reader = ReadAsync(Key(), ByteMaker(7, compressible));
    ChunkSender sender(peer_.Connect(), Key(), options);
    const auto written = WriteAll(sender, ByteMaker(7, compressible), total, piece);
    EXPECT_TRUE(written) << written.error().message;
    const auto read = reader.get();
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, total);
    EXPECT_EQ(sender.statistics()->raw_bytes, total);
    EXPECT_EQ(sender.statistics()->retransmits, 0U);
    wire_bytes_ = sender.statistics()->wire_bytes;
  }

  TestPeer peer_;
  std::uint64_t wire_bytes_ = 0;
};

TEST_F(ChunkStreamTest, ShipsRandomBytesAsTheyAre) {
  Ship(200 * kMiB, 300'000, /*compressible=*/false);
  EXPECT_EQ(wire_bytes_, 200 * kMiB);
}

TEST_F(ChunkStreamTest, ShipsCompressibleBytesSmaller) {
  Ship(200 * kMiB, 300'000, /*compressible=*/true, {.compression_level = 1});
  EXPECT_LT(wire_bytes_, 100 * kMiB);
}

TEST_F(ChunkStreamTest, AdaptsTheCompression) {
  Ship(60 * kMiB, 300'000, /*compressible=*/true);
  EXPECT_LE(wire_bytes_, 60 * kMiB);
}

TEST_F(ChunkStreamTest, CompressionCanBeOff) {
  Ship(20 * kMiB, 300'000, /*compressible=*/true, {.compression_level = 0});
  EXPECT_EQ(wire_bytes_, 20 * kMiB);
}

TEST_F(ChunkStreamTest, ShipsSmallWrites) { Ship(3'000'017, 7, /*compressible=*/true); }

TEST_F(ChunkStreamTest, ShipsManySmallChunks) {
  Ship(1'000'001, 5000, /*compressible=*/true, {.window = 3, .chunk_bytes = 777});
}

TEST_F(ChunkStreamTest, ShipsNothing) { Ship(0, 1, false); }

TEST_F(ChunkStreamTest, ShipsExactlyOneChunk) { Ship(limits::kMaxChunkBytes, 4096, false); }

TEST_F(ChunkStreamTest, StreamsInParallel) {
  constexpr std::uint32_t kStreams = 16;
  auto channel = peer_.Connect();
  std::vector<std::future<Result<std::size_t>>> readers;
  std::vector<std::future<Result<>>> writers;
  for (std::uint32_t i = 0; i < kStreams; ++i) {
    readers.push_back(ReadAsync(Key("image", i), ByteMaker(i, i % 2 == 0)));
    writers.push_back(std::async(std::launch::async, [this, channel, i] {
      ChunkSender sender(channel, Key("image", i));
      return WriteAll(sender, ByteMaker(i, i % 2 == 0), 4 * kMiB + i, 10'000);
    }));
  }
  for (std::uint32_t i = 0; i < kStreams; ++i) {
    const auto written = writers[i].get();
    EXPECT_TRUE(written) << written.error().message;
    const auto read = readers[i].get();
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, 4 * kMiB + i);
  }
}

TEST_F(ChunkStreamTest, FlushSendsAPartOfAChunk) {
  ChunkSender sender(peer_.Connect(), Key());
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  ASSERT_TRUE(sender.Flush());
  auto source = peer_.service().Accept(Key());
  ASSERT_TRUE(source) << source.error().message;
  std::array<std::byte, 100> buffer{};
  const auto size = (*source)->Read(buffer);
  ASSERT_TRUE(size) << size.error().message;
  EXPECT_EQ(*size, 5U);
}

TEST_F(ChunkStreamTest, FinishWaitsForTheReader) {
  ChunkSender sender(peer_.Connect(), Key());
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  auto finish = std::async(std::launch::async, [&] { return sender.Finish(); });
  auto source = peer_.service().Accept(Key());
  ASSERT_TRUE(source);
  std::array<std::byte, 100> buffer{};
  ASSERT_EQ((*source)->Read(buffer).value_or(0), 5U);
  EXPECT_EQ(finish.wait_for(300ms), std::future_status::timeout);
  ASSERT_EQ((*source)->Read(buffer).value_or(1), 0U);
  const auto finished = finish.get();
  EXPECT_TRUE(finished) << finished.error().message;
  EXPECT_EQ((*source)->Read(buffer).value_or(1), 0U);  // and stays at the end
  EXPECT_TRUE(sender.Finish());
  EXPECT_FALSE(sender.Write(Bytes("more")));
}

// A reader that does not read blocks the sender after about a window, on both sides.
TEST_F(ChunkStreamTest, WindowBoundsTheMemory) {
  const SendOptions options{.compression_level = 0, .window = 4, .chunk_bytes = 64 * 1024};
  auto received = std::make_shared<StreamStatistics>();
  ChunkSender sender(peer_.Connect(), Key(), options);
  std::atomic<std::size_t> written = 0;
  auto writer = std::async(std::launch::async, [&]() -> Result<> {
    std::vector<std::byte> chunk(options.chunk_bytes);
    ByteMaker maker(3);
    for (int i = 0; i < 200; ++i) {
      maker.Fill(chunk);
      TRY(sender.Write(chunk));
      ++written;
    }
    return sender.Finish();
  });
  ReceiveOptions slow;
  slow.statistics = received;
  auto source = peer_.service().Accept(Key(), slow);
  ASSERT_TRUE(source) << source.error().message;
  std::this_thread::sleep_for(500ms);
  EXPECT_GE(written, options.window);
  // In the window, before the encoder, and in its hands.
  EXPECT_LE(written, options.window + limits::kChunksAheadOfEncoder + 1);
  EXPECT_EQ(sender.statistics()->chunks_held, options.window);
  EXPECT_EQ(received->chunks_held, options.window);
  const auto read = ReadAndCompare(**source, ByteMaker(3));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(writer.get());
  EXPECT_LE(sender.statistics()->chunks_held_max, options.window);
  EXPECT_LE(received->chunks_held_max, options.window);
  EXPECT_EQ(received->chunks_held, 0U);
  EXPECT_EQ(received->raw_bytes, 200 * options.chunk_bytes);
}

TEST_F(ChunkStreamTest, ReceiverTakesNoMoreThanItsOwnWindow) {
  auto received = std::make_shared<StreamStatistics>();
  ChunkSender sender(peer_.Connect(), Key(), {.window = 64, .chunk_bytes = 64 * 1024});
  auto writer = std::async(std::launch::async,
                           [&] { return WriteAll(sender, ByteMaker(3), 10 * kMiB, 4096); });
  ReceiveOptions options;
  options.window = 3;
  options.statistics = received;
  auto source = peer_.service().Accept(Key(), options);
  ASSERT_TRUE(source);
  std::this_thread::sleep_for(300ms);
  EXPECT_EQ(received->chunks_held, 3U);
  EXPECT_TRUE(ReadAndCompare(**source, ByteMaker(3)));
  EXPECT_TRUE(writer.get());
  EXPECT_EQ(received->chunks_held_max, 3U);
}

TEST_F(ChunkStreamTest, RateLimitHoldsRoughlyAndCanBeLifted) {
  auto rate = std::make_shared<RateLimiter>(4 * kMiB);
  auto reader = ReadAsync(Key(), ByteMaker(5));
  ChunkSender sender(peer_.Connect(), Key(), {.rate = rate});
  auto writer = std::async(std::launch::async,
                           [&] { return WriteAll(sender, ByteMaker(5), 64 * kMiB, 100'000); });
  std::this_thread::sleep_for(2s);
  const std::uint64_t sent = sender.statistics()->wire_bytes;
  EXPECT_GE(sent, 3 * kMiB);
  EXPECT_LE(sent, 12 * kMiB);
  EXPECT_EQ(writer.wait_for(0s), std::future_status::timeout);
  rate->SetRate(0);
  ASSERT_EQ(writer.wait_for(30s), std::future_status::ready);
  EXPECT_TRUE(writer.get());
  EXPECT_TRUE(reader.get());
}

TEST_F(ChunkStreamTest, LevelRisesWhenTheNetworkIsSlow) {
  auto rate = std::make_shared<RateLimiter>(2 * kMiB);
  auto reader = ReadAsync(Key(), ByteMaker(5, true));
  ChunkSender sender(peer_.Connect(), Key(), {.rate = rate});
  EXPECT_TRUE(WriteAll(sender, ByteMaker(5, true), 32 * kMiB, 100'000));
  EXPECT_TRUE(reader.get());
  EXPECT_GT(sender.statistics()->compression_level, 1);
}

TEST_F(ChunkStreamTest, SenderCancelledByStopToken) {
  std::stop_source stop;
  auto reader = ReadAsync(Key(), ByteMaker(5));
  ChunkSender sender(peer_.Connect(), Key(), {.stop = stop.get_token()});
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  ASSERT_TRUE(sender.Flush());
  std::jthread later([&] {
    std::this_thread::sleep_for(200ms);
    stop.request_stop();
  });
  std::vector<std::byte> chunk(100'000);
  Result<> result;
  const auto end = Clock::now() + 20s;
  while ((result = sender.Write(chunk)) && Clock::now() < end) {
  }
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(sender.Finish().error().code, ErrorCode::kCancelled);
  const auto read = reader.get();  // at once, not after the receiver's own timeout
  ASSERT_FALSE(read);
}

TEST_F(ChunkStreamTest, ReaderLearnsThatTheSenderGaveUp) {
  auto reader = std::async(std::launch::async, [this]() -> Result<std::size_t> {
    auto source = TRY(peer_.service().Accept(Key()));
    std::array<std::byte, 100> buffer{};
    TRY(source->Read(buffer));
    return source->Read(buffer);
  });
  {
    ChunkSender sender(peer_.Connect(), Key());
    ASSERT_TRUE(sender.Write(Bytes("hello")));
    ASSERT_TRUE(sender.Flush());
    while (sender.statistics()->wire_bytes == 0) {
      std::this_thread::sleep_for(1ms);
    }
    std::this_thread::sleep_for(100ms);
    sender.Abort(MakeError(ErrorCode::kResourceExhausted, "the source is full", "FULL"));
  }
  ASSERT_EQ(reader.wait_for(10s), std::future_status::ready);
  const auto read = reader.get();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(read.error().message, "the source is full");
  EXPECT_EQ(read.error().reason, "FULL");
}

TEST_F(ChunkStreamTest, SenderThatNeverConnectedStillTellsItsEnd) {
  { ChunkSender sender(peer_.Connect(), Key()); }
  auto source = peer_.service().Accept(Key());
  ASSERT_TRUE(source) << source.error().message;
  std::array<std::byte, 1> buffer{};
  const auto read = (*source)->Read(buffer);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kCancelled);
}

TEST_F(ChunkStreamTest, ReaderCancelledByStopToken) {
  std::stop_source stop;
  ReceiveOptions options;
  options.stop = stop.get_token();
  ChunkSender sender(peer_.Connect(), Key());
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  ASSERT_TRUE(sender.Flush());
  auto source = peer_.service().Accept(Key(), options);
  ASSERT_TRUE(source);
  std::array<std::byte, 100> buffer{};
  ASSERT_TRUE((*source)->Read(buffer));
  std::jthread later([&] {
    std::this_thread::sleep_for(200ms);
    stop.request_stop();
  });
  const auto read = (*source)->Read(buffer);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(sender.Finish().error().code, ErrorCode::kCancelled);
}

TEST_F(ChunkStreamTest, AcceptEndsInTime) {
  ReceiveOptions options;
  options.accept_timeout = 100ms;
  EXPECT_EQ(peer_.service().Accept(Key(), options).error().code, ErrorCode::kDeadlineExceeded);
  std::stop_source stop;
  options.accept_timeout = 60s;
  options.stop = stop.get_token();
  std::jthread later([&] {
    std::this_thread::sleep_for(100ms);
    stop.request_stop();
  });
  EXPECT_EQ(peer_.service().Accept(Key(), options).error().code, ErrorCode::kCancelled);
  std::jthread forget([&] {
    std::this_thread::sleep_for(100ms);
    peer_.service().ForgetMigration(kMigration);
  });
  EXPECT_EQ(peer_.service().Accept(Key()).error().code, ErrorCode::kNotFound);
}

TEST_F(ChunkStreamTest, AStreamIsAcceptedOnce) {
  ChunkSender sender(peer_.Connect(), Key());
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  ASSERT_TRUE(sender.Flush());
  auto source = peer_.service().Accept(Key());
  ASSERT_TRUE(source);
  EXPECT_EQ(peer_.service().Accept(Key()).error().code, ErrorCode::kAlreadyExists);
}

}  // namespace
}  // namespace migrate
