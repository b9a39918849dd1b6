// The bulk transport where something goes wrong: connections, peers, readers, chunks.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <future>
#include <thread>

#include "base/limits.h"
#include "migrated/ship/chunk_codec.h"
#include "migrated/ship/chunk_test_util.h"
#include "migrated/ship/grpc_status.h"
#include "proto/ship.grpc.pb.h"

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

// Plays a sender by hand.
class HandMadeTest : public ChunkFaultTest {
 protected:
  void SetUp() override {
    ChunkFaultTest::SetUp();
    stub_ = v1::Shipping::NewStub(peer_.Connect());
  }

  ~HandMadeTest() override {
    if (call_) {
      context_.TryCancel();
      v1::ShipAck ack;
      while (call_->Read(&ack)) {
      }
      call_->Finish();
    }
  }

  static v1::ShipOpen Open() {
    v1::ShipOpen open;
    open.set_version(limits::kShipProtocolVersion);
    open.set_migration_id(kMigration);
    open.set_stream("files");
    open.set_sender(77);
    return open;
  }

  void Start(const v1::ShipOpen& open = Open()) {
    call_ = stub_->Ship(&context_);
    v1::ShipChunk first;
    *first.mutable_open() = open;
    call_->Write(first);
  }

  static v1::ShipChunk Chunk(std::uint64_t sequence, std::uint64_t offset, std::string data,
                             bool last = false) {
    v1::ShipChunk chunk;
    chunk.set_sequence(sequence);
    chunk.set_offset(offset);
    chunk.set_raw_size(static_cast<std::uint32_t>(data.size()));
    chunk.set_checksum(ChunkChecksum(Bytes(data)));
    chunk.set_data(std::move(data));
    chunk.set_last(last);
    return chunk;
  }

  // What both sides are told after these chunks; the reader reads all the time.
  Error ErrorAfter(const std::vector<v1::ShipChunk>& chunks) {
    auto reader = ReadTextAsync();
    Start();
    for (const v1::ShipChunk& chunk : chunks) {
      call_->Write(chunk);
    }
    v1::ShipAck ack;
    while (call_->Read(&ack)) {
    }
    const Error at_sender = FromStatus(call_->Finish());
    call_.reset();
    const auto read = reader.get();
    EXPECT_FALSE(read);
    EXPECT_EQ(read.error().message, at_sender.message);
    EXPECT_EQ(read.error().code, at_sender.code);
    return at_sender;
  }

  std::future<Result<std::string>> ReadTextAsync() {
    return std::async(std::launch::async, [this]() -> Result<std::string> {
      auto source = TRY(peer_.service().Accept(Key()));
      std::array<char, 1000> buffer{};
      std::string text;
      while (const std::size_t size =
                 TRY(source->Read(std::as_writable_bytes(std::span(buffer))))) {
        text.append(buffer.data(), size);
      }
      return text;
    });
  }

  Error RefusalOf(const v1::ShipOpen& open) {
    Start(open);
    v1::ShipAck ack;
    EXPECT_FALSE(call_->Read(&ack));
    const grpc::Status status = call_->Finish();
    call_.reset();
    EXPECT_TRUE(CarriesError(status));
    return FromStatus(status);
  }

  std::unique_ptr<v1::Shipping::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ShipChunk, v1::ShipAck>> call_;
};

void ExpectDataLoss(const Error& error, std::string_view message) {
  EXPECT_EQ(error.code, ErrorCode::kDataLoss);
  EXPECT_EQ(error.message, message);
}

TEST_F(HandMadeTest, DuplicatesAreIgnored) {
  auto reader = ReadTextAsync();
  Start();
  for (const auto& chunk : {Chunk(0, 0, "ab"), Chunk(0, 0, "ab"), Chunk(1, 2, "cd"),
                            Chunk(0, 0, "ab"), Chunk(1, 2, "cd"), Chunk(2, 4, "e", true)}) {
    call_->Write(chunk);
  }
  v1::ShipAck ack;
  v1::ShipAck last;
  while (call_->Read(&ack)) {
    EXPECT_GE(ack.received(), ack.consumed());
    EXPECT_GE(ack.consumed(), last.consumed());
    last = ack;
  }
  EXPECT_TRUE(call_->Finish().ok());
  call_.reset();
  EXPECT_EQ(last.consumed(), 3U);
  EXPECT_TRUE(last.finished());
  EXPECT_EQ(reader.get().value_or("?"), "abcde");
}

TEST_F(HandMadeTest, CorruptChunk) {
  auto bad = Chunk(1, 2, "cd");
  bad.set_data("cx");
  ExpectDataLoss(ErrorAfter({Chunk(0, 0, "ab"), bad}), "stream files: chunk 1: checksum mismatch");
}

TEST_F(HandMadeTest, CorruptCompressedChunk) {
  auto bad = Chunk(0, 0, "ab");
  bad.set_codec(v1::SHIP_CODEC_ZSTD);
  EXPECT_EQ(ErrorAfter({bad}).code, ErrorCode::kDataLoss);
}

TEST_F(HandMadeTest, Gap) {
  ExpectDataLoss(ErrorAfter({Chunk(0, 0, "ab"), Chunk(2, 2, "cd")}),
                 "stream files: chunk 2: out of order, expected is chunk 1");
}

TEST_F(HandMadeTest, WrongOffset) {
  ExpectDataLoss(ErrorAfter({Chunk(0, 0, "ab"), Chunk(1, 3, "cd")}),
                 "stream files: chunk 1: offset 3, expected is 2");
}

TEST_F(HandMadeTest, TooLarge) {
  ExpectDataLoss(ErrorAfter({Chunk(0, 0, std::string(kMiB + 1, 'x'))}),
                 "stream files: chunk 0: too large");
}

TEST_F(HandMadeTest, TooLargeAfterDecompression) {
  auto bad = Chunk(0, 0, "ab");
  bad.set_codec(v1::SHIP_CODEC_ZSTD);
  bad.set_raw_size(0xffffffff);
  ExpectDataLoss(ErrorAfter({bad}), "stream files: chunk 0: too large");
}

TEST_F(HandMadeTest, MessageBeyondTheLimitOfGrpcDoesNoHarm) {
  auto reader = ReadTextAsync();
  Start();
  call_->Write(Chunk(0, 0, std::string(5 * kMiB, 'x')));
  v1::ShipAck ack;
  while (call_->Read(&ack)) {
  }
  EXPECT_EQ(call_->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  call_.reset();
  peer_.service().ForgetMigration(kMigration);
  EXPECT_FALSE(reader.get());
}

TEST_F(HandMadeTest, EmptyChunkAndChunkAfterTheLast) {
  ExpectDataLoss(ErrorAfter({Chunk(0, 0, "")}), "stream files: chunk 0: empty");
}

TEST_F(HandMadeTest, ChunkAfterTheLast) {
  Start();
  call_->Write(Chunk(0, 0, "ab", true));
  call_->Write(Chunk(1, 2, "cd"));
  v1::ShipAck ack;
  while (call_->Read(&ack)) {
  }
  ExpectDataLoss(FromStatus(call_->Finish()), "stream files: chunk 1: comes after the last one");
  call_.reset();
}

TEST_F(HandMadeTest, SecondOpening) {
  v1::ShipChunk again;
  *again.mutable_open() = Open();
  EXPECT_EQ(ErrorAfter({again}).code, ErrorCode::kDataLoss);
}

TEST_F(HandMadeTest, CallsThatDoNotOpenAreRefused) {
  call_ = stub_->Ship(&context_);
  call_->Write(Chunk(0, 0, "ab"));
  v1::ShipAck ack;
  EXPECT_FALSE(call_->Read(&ack));
  EXPECT_EQ(call_->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  call_.reset();
}

TEST_F(HandMadeTest, WrongVersionIsRefused) {
  auto open = Open();
  open.set_version(99);
  EXPECT_EQ(RefusalOf(open).code, ErrorCode::kVersionMismatch);
}

TEST_F(HandMadeTest, WrongMigrationIsRefused) {
  auto open = Open();
  open.set_migration_id("0000000000000000");
  EXPECT_EQ(RefusalOf(open).code, ErrorCode::kNotFound);
}

TEST_F(HandMadeTest, MalformedNameIsRefused) {
  auto open = Open();
  open.set_stream("../files");
  EXPECT_EQ(RefusalOf(open).code, ErrorCode::kInvalidArgument);
}

// Nobody asked for the stream: the peer may send what it likes, we keep two chunks.
TEST_F(HandMadeTest, FloodBeforeAcceptIsBounded) {
  Start();
  std::atomic<int> written = 0;
  auto flood = std::async(std::launch::async, [&] {
    const std::string data(kMiB, 'x');
    for (int i = 0; i < 1000; ++i) {
      if (!call_->Write(Chunk(static_cast<std::uint64_t>(i), i * kMiB, data))) {
        return;
      }
      ++written;
    }
  });
  std::this_thread::sleep_for(1s);
  EXPECT_LT(written, 100);  // ours, and what the buffers of gRPC and TCP take
  auto statistics = std::make_shared<StreamStatistics>();
  ReceiveOptions options;
  options.statistics = statistics;
  auto source = peer_.service().Accept(Key(), options);
  ASSERT_TRUE(source);
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(statistics->chunks_held, limits::kChunkWindow);
  context_.TryCancel();
  flood.get();
}

// Plays a receiver by hand: answers the opening with these acknowledgements, then takes chunks.
class HandMadeReceiver final : public v1::Shipping::Service {
 public:
  explicit HandMadeReceiver(std::vector<v1::ShipAck> acks) : acks_(std::move(acks)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~HandMadeReceiver() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status Ship(grpc::ServerContext* /*context*/,
                    grpc::ServerReaderWriter<v1::ShipAck, v1::ShipChunk>* call) override {
    v1::ShipChunk chunk;
    call->Read(&chunk);
    for (const v1::ShipAck& ack : acks_) {
      call->Write(ack);
    }
    while (call->Read(&chunk)) {
    }
    return grpc::Status::OK;
  }

  Error ErrorOfSender() {
    ChunkSender sender(TestPeer::Connect(port_), {kMigration, "files", 0}, {.reconnects = 1});
    const auto result = WriteAll(sender, ByteMaker(1), 10 * kMiB, 100'000);
    return result ? MakeError(ErrorCode::kInternal, "no error") : result.error();
  }

 private:
  std::vector<v1::ShipAck> acks_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

v1::ShipAck Ack(std::uint64_t received, std::uint64_t consumed, bool finished = false) {
  v1::ShipAck ack;
  ack.set_received(received);
  ack.set_consumed(consumed);
  ack.set_finished(finished);
  return ack;
}

v1::ShipAck ResumeAck(std::uint64_t next) {
  v1::ShipAck ack = Ack(next, 0);
  ack.mutable_resume()->set_next_sequence(next);
  return ack;
}

TEST(HandMadeReceiverTest, SenderDoesNotBelieveNonsense) {
  constexpr std::string_view kNeverSent = "stream files: the peer acknowledges what was never sent";
  EXPECT_EQ(HandMadeReceiver({ResumeAck(0), Ack(1000, 0)}).ErrorOfSender().message, kNeverSent);
  EXPECT_EQ(HandMadeReceiver({ResumeAck(0), Ack(0, 1)}).ErrorOfSender().message, kNeverSent);
  EXPECT_EQ(HandMadeReceiver({ResumeAck(0), Ack(0, 0, true)}).ErrorOfSender().message, kNeverSent);
  const Error error = HandMadeReceiver({ResumeAck(3)}).ErrorOfSender();
  EXPECT_EQ(error.code, ErrorCode::kDataLoss);
  EXPECT_EQ(error.message,
            "stream files: cannot be resumed: the peer wants chunk 3, kept are 0 up to 0");
}

}  // namespace
}  // namespace migrate
