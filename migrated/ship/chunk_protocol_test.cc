// The bulk transport against peers that are played by hand: what a broken or hostile one may send.
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
using testing::kMigration;
using testing::TestPeer;
using testing::WriteAll;

constexpr std::size_t kMiB = 1024 * 1024;

// Plays a sender by hand.
class HandMadeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(peer_.service().ExpectStreams(kMigration));
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

  static StreamKey Key() { return {kMigration, "files", 0}; }

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

  TestPeer peer_;
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

TEST_F(HandMadeTest, EmptyChunk) {
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
