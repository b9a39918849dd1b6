// The bulk transport where something goes wrong: connections, peers, readers, chunks.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <future>
#include <thread>

#include "base/limits.h"
#include "migrated/ship/chunk_test_util.h"
#include "migrated/ship/grpc_status.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;
using testing::ByteMaker;
using testing::Bytes;
using testing::FlakyProxy;
using testing::kMigration;
using testing::ReadAndCompare;
using testing::TestPeer;
using testing::WriteAll;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMiB = 1024 * 1024;

class ChunkFaultTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(peer_.service().ExpectStreams(kMigration)); }

  static StreamKey Key() { return {kMigration, "files", 0}; }

  std::future<Result<std::size_t>> ReadAsync(ByteMaker maker, ReceiveOptions options = {}) {
    return std::async(std::launch::async, [this, maker, options]() -> Result<std::size_t> {
      auto source = TRY(peer_.service().Accept(Key(), options));
      return ReadAndCompare(*source, maker);
    });
  }

  TestPeer peer_;
};

TEST_F(ChunkFaultTest, SurvivesConnectionsThatBreak) {
  for (unsigned seed = 1; seed <= 4; ++seed) {
    TestPeer peer;
    ASSERT_TRUE(peer.service().ExpectStreams(kMigration));
    constexpr int kCuts = 8;
    FlakyProxy proxy(peer.port(), kCuts, 3 * kMiB, seed);
    auto reader = std::async(std::launch::async, [&]() -> Result<std::size_t> {
      auto source = TRY(peer.service().Accept(Key()));
      return ReadAndCompare(*source, ByteMaker(seed));
    });
    ChunkSender sender(TestPeer::Connect(proxy.port()), Key(),
                       {.reconnects = kCuts, .reconnect_delay = 10ms});
    const auto written = WriteAll(sender, ByteMaker(seed), 60 * kMiB + seed, 70'000);
    EXPECT_TRUE(written) << written.error().message;
    const auto read = reader.get();
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, 60 * kMiB + seed);
    EXPECT_EQ(proxy.cuts_done(), kCuts);
    EXPECT_GE(sender.statistics()->reconnects, 1U);
  }
}

TEST_F(ChunkFaultTest, SurvivesCutsWithinTheFirstBytes) {
  FlakyProxy proxy(peer_.port(), 4, 400, 9);
  auto reader = ReadAsync(ByteMaker(1));
  ChunkSender sender(TestPeer::Connect(proxy.port()), Key(),
                     {.chunk_bytes = 100, .reconnects = 20, .reconnect_delay = 50ms});
  const auto written = WriteAll(sender, ByteMaker(1), 20'000, 50);
  EXPECT_TRUE(written) << written.error().message;
  const auto read = reader.get();
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, 20'000U);
}

TEST_F(ChunkFaultTest, PeerThatIsNotThereIsAnErrorInTime) {
  const int port = peer_.port();
  peer_.service().Shutdown();
  peer_.StopServer();
  ChunkSender sender(TestPeer::Connect(port), Key(), {.reconnects = 3, .reconnect_delay = 20ms});
  const auto start = Clock::now();
  const auto result = WriteAll(sender, ByteMaker(1), 100 * kMiB, 100'000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(result.error().message.find("stream files: the connection to the peer broke"),
            std::string::npos)
      << result.error().message;
  EXPECT_LT(Clock::now() - start, 10s);
}

TEST_F(ChunkFaultTest, PeerThatDiesForGoodIsAnErrorOnBothSides) {
  FlakyProxy proxy(peer_.port(), 0, 0, 1);
  ReceiveOptions options;
  options.reconnect_grace = 500ms;
  auto reader = ReadAsync(ByteMaker(1), options);
  ChunkSender sender(TestPeer::Connect(proxy.port()), Key(),
                     {.reconnects = 3, .reconnect_delay = 20ms});
  auto writer = std::async(std::launch::async,
                           [&] { return WriteAll(sender, ByteMaker(1), 10'000 * kMiB, 100'000); });
  while (sender.statistics()->wire_bytes < 3 * kMiB) {
    std::this_thread::sleep_for(1ms);
  }
  proxy.CutAll();
  ASSERT_EQ(writer.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(writer.get().error().code, ErrorCode::kUnavailable);
  ASSERT_EQ(reader.wait_for(10s), std::future_status::ready);
  const auto read = reader.get();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnavailable);
}

// No packet, no error from TCP: only the keepalive can notice.
TEST_F(ChunkFaultTest, DeadConnectionIsNoticedByKeepalive) {
  FlakyProxy proxy(peer_.port(), 0, 0, 1);
  ReceiveOptions options;
  options.reconnect_grace = 100ms;
  ChunkSender sender(TestPeer::Connect(proxy.port()), Key(), {.reconnects = 0});
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  ASSERT_TRUE(sender.Flush());
  auto source = peer_.service().Accept(Key(), options);
  ASSERT_TRUE(source);
  std::array<std::byte, 100> buffer{};
  ASSERT_EQ((*source)->Read(buffer).value_or(0), 5U);
  const auto start = Clock::now();
  proxy.Swallow();
  std::this_thread::sleep_for(100ms);  // it may be at it
  auto reader = std::async(std::launch::async, [&] { return (*source)->Read(buffer); });
  const auto result = sender.Finish();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable) << result.error().message;
  const auto read = reader.get();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnavailable) << read.error().message;
  EXPECT_LT(Clock::now() - start, 25s);
}

// The TCP connection is made, and nobody ever says a word.
TEST_F(ChunkFaultTest, SilentPeerIsAnErrorInTime) {
  FlakyProxy proxy(peer_.port(), 0, 0, 1);
  proxy.Swallow();
  ChunkSender sender(TestPeer::Connect(proxy.port()), Key(), {.reconnects = 0});
  const auto start = Clock::now();
  const auto result = WriteAll(sender, ByteMaker(1), 100 * kMiB, 100'000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable) << result.error().message;
  EXPECT_LT(Clock::now() - start, 15s);
}

TEST_F(ChunkFaultTest, ReaderThatStallsIsAnErrorForTheSender) {
  ChunkSender sender(peer_.Connect(), Key(), {.stall_timeout = 300ms});
  auto source = std::async(std::launch::async, [this] { return peer_.service().Accept(Key()); });
  const auto result = WriteAll(sender, ByteMaker(1), 100 * kMiB, 100'000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_TRUE(source.get());
}

TEST_F(ChunkFaultTest, SenderThatStallsIsAnErrorForTheReader) {
  ReceiveOptions options;
  options.quiet_timeout = 200ms;
  ChunkSender sender(peer_.Connect(), Key());
  ASSERT_TRUE(sender.Write(Bytes("hello")));
  ASSERT_TRUE(sender.Flush());
  auto source = peer_.service().Accept(Key(), options);
  ASSERT_TRUE(source);
  std::array<std::byte, 100> buffer{};
  EXPECT_EQ((*source)->Read(buffer).value_or(0), 5U);
  EXPECT_EQ((*source)->Read(buffer).error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(sender.Finish().error().code, ErrorCode::kDeadlineExceeded);
}

// A queue that was full for longer than the quiet timeout is no silence of the sender.
TEST_F(ChunkFaultTest, SlowReaderDoesNotBlameTheSender) {
  ReceiveOptions options;
  options.quiet_timeout = 400ms;
  options.window = 1;
  ChunkSender sender(peer_.Connect(), Key(), {.chunk_bytes = 64 * 1024});
  auto writer = std::async(std::launch::async,
                           [&] { return WriteAll(sender, ByteMaker(1), 2 * kMiB, 4096); });
  auto source = peer_.service().Accept(Key(), options);
  ASSERT_TRUE(source);
  std::this_thread::sleep_for(800ms);
  const auto read = ReadAndCompare(**source, ByteMaker(1));
  EXPECT_TRUE(read) << read.error().message;
  EXPECT_TRUE(writer.get());
}

TEST_F(ChunkFaultTest, ErrorOfTheReaderReachesTheSender) {
  ChunkSender sender(peer_.Connect(), Key());
  auto reader = std::async(std::launch::async, [this]() -> Result<> {
    auto source = TRY(peer_.service().Accept(Key()));
    std::array<std::byte, 1000> buffer{};
    TRY(source->Read(buffer));
    source->Fail(MakeError(ErrorCode::kResourceExhausted, "write /v/\xff: No space left", "SPACE"));
    return {};
  });
  const auto result = WriteAll(sender, ByteMaker(1), 500 * kMiB, 100'000);
  ASSERT_TRUE(reader.get());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(result.error().message, "write /v/\xff: No space left");
  EXPECT_EQ(result.error().reason, "SPACE");
}

TEST_F(ChunkFaultTest, EveryErrorCodeCrosses) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kVersionMismatch); ++i) {
    const Error sent = MakeError(static_cast<ErrorCode>(i), "text " + std::to_string(i));
    const grpc::Status status = ToStatus(sent);
    EXPECT_TRUE(CarriesError(status));
    EXPECT_EQ(FromStatus(status).code, sent.code);
    EXPECT_EQ(FromStatus(status).message, sent.message);
  }
  EXPECT_FALSE(CarriesError(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone")));
  // The longest text that an error may bring still fits into what gRPC lets pass.
  ChunkSender sender(peer_.Connect(), Key());
  auto reader = std::async(std::launch::async, [this]() -> Result<> {
    auto source = TRY(peer_.service().Accept(Key()));
    source->Fail(
        MakeError(ErrorCode::kAborted, std::string(100'000, '\xe9'), std::string(9999, 'r')));
    return {};
  });
  const auto result = WriteAll(sender, ByteMaker(1), 5 * kMiB, 100'000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kAborted) << result.error().message;
}

TEST_F(ChunkFaultTest, ReaderThatGoesAwayIsCancelled) {
  ChunkSender sender(peer_.Connect(), Key());
  auto reader = std::async(std::launch::async,
                           [this]() -> bool { return peer_.service().Accept(Key()).has_value(); });
  const auto result = WriteAll(sender, ByteMaker(1), 500 * kMiB, 100'000);
  EXPECT_TRUE(reader.get());
  EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

// How the stream ended must reach a sender whose connection was down at that moment.
TEST_F(ChunkFaultTest, ErrorOfTheReaderReachesASenderThatComesBack) {
  FlakyProxy proxy(peer_.port(), 1, 100'000, 3);
  ChunkSender sender(TestPeer::Connect(proxy.port()), Key(), {.reconnect_delay = 500ms});
  auto writer = std::async(std::launch::async,
                           [&] { return WriteAll(sender, ByteMaker(1), 500 * kMiB, 100'000); });
  auto source = peer_.service().Accept(Key());
  ASSERT_TRUE(source);
  while (proxy.cuts_done() == 0) {
    std::this_thread::sleep_for(1ms);
  }
  std::this_thread::sleep_for(100ms);
  (*source)->Fail(MakeError(ErrorCode::kResourceExhausted, "full"));
  source->reset();
  EXPECT_EQ(writer.get().error().message, "full");
}

TEST_F(ChunkFaultTest, UnknownMigrationIsRefused) {
  ChunkSender sender(peer_.Connect(), {"ffffffffffffffff", "files", 0});
  const auto result = WriteAll(sender, ByteMaker(1), 10 * kMiB, 100'000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_NE(result.error().message.find("ffffffffffffffff is not known here"), std::string::npos);
}

TEST_F(ChunkFaultTest, ForgottenMigrationEndsItsStreams) {
  ChunkSender sender(peer_.Connect(), Key());
  auto reader = ReadAsync(ByteMaker(1));
  auto writer = std::async(std::launch::async,
                           [&] { return WriteAll(sender, ByteMaker(1), 10'000 * kMiB, 100'000); });
  while (sender.statistics()->wire_bytes < 3 * kMiB) {
    std::this_thread::sleep_for(1ms);
  }
  peer_.service().ForgetMigration(kMigration);
  EXPECT_EQ(writer.get().error().code, ErrorCode::kAborted);
  EXPECT_EQ(reader.get().error().code, ErrorCode::kAborted);
}

TEST_F(ChunkFaultTest, OneSenderPerStream) {
  ChunkSender first(peer_.Connect(), Key());
  ASSERT_TRUE(first.Write(Bytes("hello")));
  ASSERT_TRUE(first.Flush());
  auto source = peer_.service().Accept(Key());
  ASSERT_TRUE(source);
  ChunkSender second(peer_.Connect(), Key());
  EXPECT_EQ(second.Write(Bytes("other")).has_value() ? second.Finish().error().code
                                                     : ErrorCode::kInternal,
            ErrorCode::kAlreadyExists);
  std::array<std::byte, 100> buffer{};
  EXPECT_EQ((*source)->Read(buffer).value_or(0), 5U);
}

TEST_F(ChunkFaultTest, NumberOfMigrationsAndStreamsIsBounded) {
  for (int i = 1; i < limits::kMaxActiveMigrations; ++i) {
    ASSERT_TRUE(peer_.service().ExpectStreams("000000000000000" + std::to_string(i)));
  }
  EXPECT_EQ(peer_.service().ExpectStreams("00000000000000ff").error().code,
            ErrorCode::kResourceExhausted);
  EXPECT_TRUE(peer_.service().ExpectStreams(kMigration));  // already expected
  auto channel = peer_.Connect();
  std::vector<std::unique_ptr<ChunkSender>> senders;
  for (std::uint32_t i = 0; i <= limits::kStreamsPerMigrationMax; ++i) {
    senders.push_back(std::make_unique<ChunkSender>(channel, StreamKey{kMigration, "many", i}));
    ASSERT_TRUE(senders.back()->Write(Bytes("x")));
    ASSERT_TRUE(senders.back()->Flush());
    while (i < limits::kStreamsPerMigrationMax && (senders.back()->statistics()->wire_bytes == 0)) {
      std::this_thread::sleep_for(1ms);
    }
  }
  EXPECT_EQ(senders.back()->Finish().error().code, ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace migrate
