#include "recorder/event_log_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <future>

#include "proto/event_log_reader.h"
#include "proto/event_log_samples.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Status = EventLogReader::Status;

constexpr auto kLong = 60s;

// What a sink was given, and what it is told to do: shared with the test.
struct Recorded {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::byte> log;
  std::vector<ChunkHeader> chunks;
  int syncs = 0;
  bool blocked = false;
  int fail_write_at = -1;  // number of the chunk
  bool fail_sync = false;
};

class MemorySink : public LogSink {
 public:
  explicit MemorySink(std::shared_ptr<Recorded> to) : to_(std::move(to)) {}
  Result<> Write(const ChunkHeader& header, std::span<const std::byte> chunk) override {
    std::unique_lock lock(to_->mutex);
    to_->changed.wait(lock, [this] { return !to_->blocked; });
    if (to_->fail_write_at == static_cast<int>(to_->chunks.size())) {
      return MakeError(ErrorCode::kResourceExhausted, "disk full");
    }
    to_->log.insert(to_->log.end(), chunk.begin(), chunk.end());
    to_->chunks.push_back(header);
    return {};
  }
  Result<> Sync() override {
    const std::lock_guard lock(to_->mutex);
    if (to_->fail_sync) {
      return MakeError(ErrorCode::kInternal, "sync failed");
    }
    ++to_->syncs;
    return {};
  }

 private:
  std::shared_ptr<Recorded> to_;
};

class EventLogWriterTest : public ::testing::Test {
 protected:
  std::unique_ptr<EventLogWriter> Make(EventLogWriterOptions options = {}) {
    options.epoch = EpochOf(kSampleEpoch);
    std::vector<std::unique_ptr<LogSink>> sinks;
    sinks.push_back(std::make_unique<MemorySink>(recorded_));
    return std::make_unique<EventLogWriter>(options, std::move(sinks));
  }
  // The frames of the log, again; it must be whole.
  std::uint64_t ReadBack(Status expected = Status::kEnd) {
    EventLogReader reader;
    reader.Feed(recorded_->log);
    Status status;
    while ((status = reader.Next()) == Status::kEvent) {
    }
    EXPECT_EQ(status, expected) << reader.corruption().Text();
    return reader.next_lsn();
  }
  void Block(bool blocked) {
    const std::lock_guard lock(recorded_->mutex);
    recorded_->blocked = blocked;
    recorded_->changed.notify_all();
  }

  std::shared_ptr<Recorded> recorded_ = std::make_shared<Recorded>();
};

TEST_F(EventLogWriterTest, WhatIsAppendedIsRead) {
  for (const int level : {0, 1}) {
    recorded_ = std::make_shared<Recorded>();
    auto writer = Make({.chunk_bytes = 4096, .compression_level = level});
    ASSERT_TRUE(writer->Append(EveryKindOfFrame(100'000 / 2)));
    ASSERT_TRUE(writer->Append(SampleFrames(1000)));
    EXPECT_EQ(writer->recorded_lsn(), 1012u);
    ASSERT_TRUE(writer->Close());
    EXPECT_EQ(writer->durable_lsn(), 1012u);
    EXPECT_EQ(ReadBack(), 1012u);
    const EventLogWriterStats stats = writer->stats();
    EXPECT_EQ(stats.events, 1012u);
    EXPECT_EQ(stats.chunks, recorded_->chunks.size());
    EXPECT_EQ(stats.stored_bytes, recorded_->log.size());
    EXPECT_EQ(stats.queued_bytes, 0u);
    EXPECT_GT(stats.chunks, 10u);
  }
}

TEST_F(EventLogWriterTest, AnEmptyLogHasAnEnd) {
  ASSERT_TRUE(Make()->Close());
  EXPECT_EQ(ReadBack(), 0u);
  EXPECT_EQ(recorded_->log.size(), kChunkHeaderBytes);
  EXPECT_EQ(recorded_->syncs, 1);
}

TEST_F(EventLogWriterTest, WithoutCloseTheLogHasNoEnd) {
  auto writer = Make();
  ASSERT_TRUE(writer->Append(SampleFrames(10)));
  ASSERT_TRUE(writer->WaitDurable(kLong));
  writer.reset();
  EXPECT_EQ(ReadBack(Status::kNeedMore), 10u);
}

TEST_F(EventLogWriterTest, AFlushEndsAChunk) {
  auto writer = Make({.sync_interval = 24h});
  ASSERT_TRUE(writer->Flush());  // nothing there: no chunk
  ASSERT_TRUE(writer->Append(SampleFrames(3)));
  ASSERT_TRUE(writer->FlushOlderThan(1h));
  ASSERT_TRUE(writer->Flush());
  ASSERT_TRUE(writer->Append(SampleFrames(2)));
  ASSERT_TRUE(writer->Close());
  ASSERT_EQ(recorded_->chunks.size(), 2u);
  EXPECT_EQ(recorded_->chunks[0].event_count, 3u);
  EXPECT_EQ(recorded_->chunks[1].event_count, 2u);
  EXPECT_TRUE(recorded_->chunks[1].last);
}

TEST_F(EventLogWriterTest, NoChunkEndsBetweenDataAndItsSyscall) {
  auto writer = Make({.chunk_bytes = 100});
  const auto data =
      FrameBuilder(EVENT_DATA, 7).Span(0x1000, std::string(3000, 'x')).Build();
  ASSERT_TRUE(writer->Append(data));
  EXPECT_EQ(writer->recorded_lsn(), 0u);
  ASSERT_TRUE(writer->Flush());
  ASSERT_TRUE(writer->Append(FrameBuilder(EVENT_SWITCH, 8).Build()));
  EXPECT_EQ(writer->recorded_lsn(), 1u);
  ASSERT_TRUE(writer->Flush());
  ASSERT_TRUE(writer->Append(
      FrameBuilder(EVENT_SYSCALL, 7).Flags(EVENT_FLAG_CONTINUED).Result(3000).Build()));
  ASSERT_TRUE(writer->Close());
  EXPECT_EQ(recorded_->chunks.front().event_count, 2u);
  EXPECT_EQ(ReadBack(), 2u);
}

TEST_F(EventLogWriterTest, AnEndInTheMiddleOfAnEventIsNoEnd) {
  auto writer = Make();
  ASSERT_TRUE(writer->Append(FrameBuilder(EVENT_DATA, 7).Span(0x1000, "x").Build()));
  const auto closed = writer->Close();
  ASSERT_FALSE(closed.has_value());
  EXPECT_THAT(closed.error().message, HasSubstr("middle of an event"));
  EXPECT_TRUE(recorded_->log.empty());
}

TEST_F(EventLogWriterTest, DurableFollowsTheSync) {
  auto writer = Make({.sync_interval = 24h});
  ASSERT_TRUE(writer->Append(SampleFrames(3)));
  ASSERT_TRUE(writer->WaitDurable(kLong));  // the first sync is due at once, or asked for
  EXPECT_EQ(writer->durable_lsn(), 3u);
  ASSERT_TRUE(writer->Append(SampleFrames(4)));
  ASSERT_TRUE(writer->Flush());
  while (writer->stats().chunks < 2) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(writer->durable_lsn(), 3u);  // written, not synced
  ASSERT_TRUE(writer->WaitDurable(kLong));
  EXPECT_EQ(writer->durable_lsn(), 7u);
  ASSERT_TRUE(writer->WaitDurable(kLong));
  ASSERT_TRUE(writer->Close());
}

TEST_F(EventLogWriterTest, AShortIntervalSyncsByItself) {
  auto writer = Make({.sync_interval = 5ms});
  for (std::uint64_t lsn = 3; lsn <= 9; lsn += 3) {
    ASSERT_TRUE(writer->Append(SampleFrames(3)));
    ASSERT_TRUE(writer->Flush());
    while (writer->durable_lsn() < lsn) {
      std::this_thread::sleep_for(1ms);
    }
  }
}

TEST_F(EventLogWriterTest, AWaitEndsWhenItsTimeIsUp) {
  auto writer = Make();
  Block(true);
  ASSERT_TRUE(writer->Append(SampleFrames(3)));
  EXPECT_EQ(writer->WaitDurable(10ms).error().code, ErrorCode::kDeadlineExceeded);
  Block(false);
  EXPECT_TRUE(writer->WaitDurable(kLong));  // being late is no failure of the log
  ASSERT_TRUE(writer->Close());
}

TEST_F(EventLogWriterTest, AFailedWriteIsKept) {
  recorded_->fail_write_at = 1;
  auto writer = Make();
  ASSERT_TRUE(writer->Append(SampleFrames(3)));
  ASSERT_TRUE(writer->WaitDurable(kLong));
  ASSERT_TRUE(writer->Append(SampleFrames(3)));
  EXPECT_EQ(writer->WaitDurable(kLong).error().message, "disk full");
  EXPECT_EQ(writer->Append(SampleFrames(3)).error().message, "disk full");
  EXPECT_EQ(writer->Flush().error().message, "disk full");
  EXPECT_EQ(writer->Close().error().message, "disk full");
  EXPECT_EQ(writer->durable_lsn(), 3u);
  EXPECT_EQ(ReadBack(Status::kNeedMore), 3u);
}

TEST_F(EventLogWriterTest, AFailedSyncIsKept) {
  recorded_->fail_sync = true;
  auto writer = Make();
  ASSERT_TRUE(writer->Append(SampleFrames(3)));
  EXPECT_EQ(writer->WaitDurable(kLong).error().message, "sync failed");
  EXPECT_EQ(writer->durable_lsn(), 0u);
  EXPECT_FALSE(writer->Close());
}

TEST_F(EventLogWriterTest, AQueueThatStaysFullEndsIt) {
  Block(true);
  auto writer = Make({.chunk_bytes = 1000, .max_queued_bytes = 5000, .queue_wait = 10ms});
  Result<> appended;
  int rounds = 0;
  while (rounds < 1000 && (appended = writer->Append(SampleFrames(5)))) {
    ++rounds;
  }
  ASSERT_FALSE(appended.has_value());
  EXPECT_EQ(appended.error().code, ErrorCode::kResourceExhausted);
  EXPECT_LT(rounds, 30);
  Block(false);
  EXPECT_FALSE(writer->Close());
}

TEST_F(EventLogWriterTest, AppendWaitsForRoom) {
  Block(true);
  auto writer = Make({.chunk_bytes = 1000, .max_queued_bytes = 5000, .queue_wait = kLong});
  auto appending = std::async(std::launch::async, [&] {
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(writer->Append(SampleFrames(5)));
    }
  });
  EXPECT_EQ(appending.wait_for(20ms), std::future_status::timeout);
  Block(false);
  appending.get();
  ASSERT_TRUE(writer->Close());
  EXPECT_EQ(ReadBack(), 500u);
}

TEST_F(EventLogWriterTest, SeveralThreads) {
  auto writer = Make({.chunk_bytes = 1000, .max_queued_bytes = 3000, .queue_wait = kLong});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&writer] {
      for (int i = 0; i < 500; ++i) {
        EXPECT_TRUE(writer->Append(SampleFrames(2)));
        if (i % 10 == 0) {
          EXPECT_TRUE(writer->Flush());
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  ASSERT_TRUE(writer->Close());
  EXPECT_EQ(ReadBack(), 4000u);
}

TEST_F(EventLogWriterTest, BadFramesAreRefused) {
  auto cut = SampleFrames(2);
  cut.pop_back();
  auto odd = SampleFrames(2);
  odd[0] = std::byte{25};
  for (const auto& frames : {cut, odd}) {
    auto writer = Make();
    EXPECT_FALSE(writer->Append(frames));
    EXPECT_FALSE(writer->Close());
  }
  EXPECT_TRUE(recorded_->log.empty());
}

TEST_F(EventLogWriterTest, AFileAndSomethingElse) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "event_log_writer_test.log";
  std::filesystem::remove(path);
  std::vector<std::unique_ptr<LogSink>> sinks;
  sinks.push_back(FileLogSink::Create(path).value());
  EXPECT_EQ(FileLogSink::Create(path).error().code, ErrorCode::kAlreadyExists);
  sinks.push_back(std::make_unique<MemorySink>(recorded_));
  EventLogWriter writer({.epoch = EpochOf(kSampleEpoch)}, std::move(sinks));
  ASSERT_TRUE(writer.Append(SampleFrames(1000)));
  ASSERT_TRUE(writer.Close());
  EXPECT_EQ(ReadBack(), 1000u);
  auto file = EventLogFile::Open(path).value();
  Status status;
  while ((status = file.Next().value()) == Status::kEvent) {
  }
  EXPECT_EQ(status, Status::kEnd);
  EXPECT_EQ(file.reader().next_lsn(), 1000u);
  EXPECT_EQ(std::filesystem::file_size(path), recorded_->log.size());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace migrate
