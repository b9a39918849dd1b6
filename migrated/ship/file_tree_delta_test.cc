// How little is sent: blocks, holes, mapped files, files that change while they are read.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "migrated/ship/file_tree_test_util.h"

namespace migrate::file_tree_test {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;
constexpr std::size_t kBlock = 64 * 1024;

void PutAt(const std::string& path, off_t offset, const std::string& bytes) {
  const OwnedFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), offset),
            static_cast<ssize_t>(bytes.size()));
}

// Lets what was written so far leave the margin in which it is looked at again.
void PassRacyMargin() { std::this_thread::sleep_for(std::chrono::milliseconds(150)); }

std::uint64_t AllocatedBytes(const std::string& path) {
  struct stat stat;
  EXPECT_EQ(::stat(path.c_str(), &stat), 0);
  return static_cast<std::uint64_t>(stat.st_blocks) * 512;
}

TEST(TreeDelta, OneBlockOfALargeSparseFile) {
  Ends ends;
  std::mt19937_64 random(1);
  const std::string file = ends.source / "big";
  for (int i = 0; i < 16; ++i) {
    PutAt(file, static_cast<off_t>(i * 16 * kMiB), RandomBytes(random, 100'000));
  }
  ASSERT_EQ(::truncate(file.c_str(), 256 * kMiB), 0);
  const auto first = ends.Round();
  ASSERT_TRUE(first);
  EXPECT_LT(first->bytes_sent, 3 * kMiB);
  EXPECT_LT(first->bytes_read, 3 * kMiB);
  EXPECT_LE(AllocatedBytes(ends.target / "big"), AllocatedBytes(file) + kMiB);

  PutAt(file, 32 * kMiB + 5, "one byte or two");
  const auto second = ends.Round();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->files_changed, 1u);
  EXPECT_LT(second->bytes_sent, kBlock + 1000);
  EXPECT_EQ(ReadTestFile(ends.target / "big"), ReadTestFile(file));
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeDelta, OneBlockOfADenseFile) {
  Ends ends;
  std::mt19937_64 random(2);
  WriteTestFile(ends.source / "dense", RandomBytes(random, 64 * kMiB));
  ASSERT_TRUE(ends.Round());
  PutAt(ends.source / "dense", 20 * kMiB, "x");
  const auto stats = ends.Round({.final = true});
  ASSERT_TRUE(stats);
  EXPECT_LT(stats->bytes_sent, kBlock + 1000);
  EXPECT_GT(ends.received.bytes_read, 63 * kMiB);  // the blocks that stay are compared
  PutAt(ends.source / "dense", 30 * kMiB, "y");
  ASSERT_TRUE(ends.Round({.final = true, .verify_unchanged = false}));
  EXPECT_EQ(ends.received.bytes_read, 0u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeDelta, AppendingSendsTheEnd) {
  Ends ends;
  std::mt19937_64 random(3);
  WriteTestFile(ends.source / "log", RandomBytes(random, 8 * kMiB + 77));
  ASSERT_TRUE(ends.Round());
  PutAt(ends.source / "log", 8 * kMiB + 77, RandomBytes(random, 1000));
  const auto stats = ends.Round();
  ASSERT_TRUE(stats);
  EXPECT_LT(stats->bytes_sent, 2 * kBlock);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeDelta, AnUnchangedTreeIsNotEvenRead) {
  Ends ends;
  std::mt19937_64 random(4);
  for (int i = 0; i < 50; ++i) {
    WriteTestFile(ends.source / std::to_string(i), RandomBytes(random, 100'000));
  }
  PassRacyMargin();
  ASSERT_TRUE(ends.Round());
  const auto stats = ends.Round({.final = true});
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->bytes_read, 0u);
  EXPECT_LT(stats->bytes_sent, 100u);
  EXPECT_EQ(stats->entries, 51u);
}

TEST(TreeDelta, OnlyAttributesAreSentWhenOnlyTheyChange) {
  Ends ends;
  std::mt19937_64 random(5);
  WriteTestFile(ends.source / "f", RandomBytes(random, 5 * kMiB));
  ASSERT_TRUE(ends.Round());
  ASSERT_EQ(::chmod((ends.source / "f").c_str(), 04711), 0);
  const auto stats = ends.Round();
  ASSERT_TRUE(stats);
  EXPECT_LT(stats->bytes_sent, 300u);
  EXPECT_EQ(stats->files_changed, 0u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

// Written twice within one tick of the kernel's clock, with a round in between: the second write
// leaves no trace in stat, or a small one.
TEST(TreeDelta, RacyWritesAreSeen) {
  Ends ends;
  const std::string file = ends.source / "f";
  PutAt(file, 0, "0000");
  struct stat before;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(ends.Round());
    ASSERT_EQ(::stat(file.c_str(), &before), 0);
    PutAt(file, 0, std::to_string(1000 + i));
    const auto stats = ends.Round();
    ASSERT_TRUE(stats);
    ASSERT_EQ(ReadTestFile(ends.target / "f"), std::to_string(1000 + i));
  }
}

TEST(TreeDelta, MappedFilesAreComparedOnRequest) {
  Ends ends;
  const std::string file = ends.source / "mapped";
  std::mt19937_64 random(6);
  WriteTestFile(file, RandomBytes(random, kMiB));
  const OwnedFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  void* memory = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const bytes = static_cast<volatile char*>(memory);
  bytes[500'000] = 'a';  // makes the page writable: later writes do not move ctime
  PassRacyMargin();
  ASSERT_TRUE(ends.Round());
  bytes[500'000] = 'b';
  RoundOptions by_path;
  by_path.always_compare.paths = {"mapped"};
  const auto stats = ends.Round(by_path);
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->files_changed, 1u);
  EXPECT_LT(stats->bytes_sent, kBlock + 1000);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
  bytes[500'000] = 'c';
  struct stat stat;
  ASSERT_EQ(::fstat(fd.get(), &stat), 0);
  RoundOptions by_id;
  by_id.always_compare.ids = {{stat.st_dev, stat.st_ino}};
  ASSERT_TRUE(ends.Round(by_id));
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
  ::munmap(memory, kMiB);
}

// An entry that was young when it was read is compared again, even if its stat is the same: here
// the change comes through a mapping, as one within a clock tick would on kernels with coarse
// times.
TEST(TreeDelta, YoungEntriesAreComparedAgain) {
  for (const bool young : {false, true}) {
    FileTreeSenderOptions options;
    options.racy_margin = std::chrono::milliseconds(young ? 3'600'000 : 100);
    Ends ends(options);
    const std::string file = ends.source / "f";
    WriteTestFile(file, std::string(kMiB, 'x'));
    const OwnedFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    void* memory = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    ASSERT_NE(memory, MAP_FAILED);
    *static_cast<volatile char*>(memory) = 'a';
    PassRacyMargin();
    ASSERT_TRUE(ends.Round());
    *static_cast<volatile char*>(memory) = 'b';
    const auto stats = ends.Round();
    ASSERT_TRUE(stats);
    EXPECT_EQ(stats->files_changed, young ? 1u : 0u);
    EXPECT_EQ(Differences(ends.source.path(), ends.target.path()) == "", young);
    ::munmap(memory, kMiB);
  }
}

TEST(TreeDelta, ABaseThatDiffersIsDataLoss) {
  std::mt19937_64 random(7);
  for (const bool size_differs : {false, true}) {
    Ends ends;
    WriteTestFile(ends.source / "f", RandomBytes(random, kMiB));
    ASSERT_TRUE(ends.Round());
    PutAt(ends.target / "f", static_cast<off_t>(size_differs ? kMiB : 700'000), "!");
    PutAt(ends.source / "f", 10, "x");
    const auto stats = ends.Round();
    ASSERT_FALSE(stats);
    EXPECT_EQ(stats.error().code, ErrorCode::kDataLoss);
    EXPECT_NE(stats.error().message.find("f: "), std::string::npos);
  }
}

TEST(TreeDelta, HolesPunchedLaterBecomeHoles) {
  Ends ends;
  std::mt19937_64 random(8);
  const std::string file = ends.source / "f";
  WriteTestFile(file, RandomBytes(random, 4 * kMiB));
  ASSERT_TRUE(ends.Round());
  const OwnedFd fd(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 3 * kMiB), 0);
  const auto stats = ends.Round();
  ASSERT_TRUE(stats);
  EXPECT_LT(stats->bytes_sent, 2 * kBlock);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
  EXPECT_LT(AllocatedBytes(ends.target / "f"), 2 * kMiB);
}

TEST(TreeDelta, BeyondTheIndexLimitFilesAreSentWhole) {
  FileTreeSenderOptions options;
  options.max_index_blocks = 4;
  Ends ends(options);
  std::mt19937_64 random(9);
  WriteTestFile(ends.source / "f", RandomBytes(random, kMiB));
  ASSERT_TRUE(ends.Round());
  PutAt(ends.source / "f", 10, "x");
  const auto stats = ends.Round();
  ASSERT_TRUE(stats);
  EXPECT_GT(stats->bytes_sent, kMiB);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeDelta, BlocksGrowWithTheFile) {
  constexpr std::uint64_t kGiB = 1 << 30;
  EXPECT_EQ(BlockSizeFor(0, 0), kBlock);
  EXPECT_EQ(BlockSizeFor(kGiB, 0), kBlock);
  EXPECT_EQ(BlockSizeFor(4 * kGiB, kBlock), kBlock);
  EXPECT_EQ(BlockSizeFor(4 * kGiB + 1, kBlock), 4 * kBlock);
  for (std::uint64_t size = 1; size <= (std::uint64_t{1} << 44); size *= 2) {
    EXPECT_LE(size / BlockSizeFor(size, 0), 65536u);
  }
  // A file whose blocks are larger than one message.
  Ends ends;
  const std::string file = ends.source / "huge";
  PutAt(file, 0, "begin");
  PutAt(file, static_cast<off_t>(100 * kGiB), std::string(3 * kMiB, 'x'));
  ASSERT_TRUE(ends.Round());
  PutAt(file, static_cast<off_t>(100 * kGiB + 5000), "y");
  const auto stats = ends.Round();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_LT(stats->bytes_sent, 4 * kMiB);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

// Does something to the tree in the middle of a round.
class MeddlingSink : public StringSink {
 public:
  explicit MeddlingSink(std::function<void()> act) : act_(std::move(act)) {}
  Result<> Write(std::span<const std::byte> data) override {
    if (act_) {
      std::exchange(act_, nullptr)();
    }
    return StringSink::Write(data);
  }

 private:
  std::function<void()> act_;
};

class TreeMeddling : public testing::TestWithParam<int> {
 protected:
  void Act(const Ends& ends) const {
    switch (GetParam()) {
      case 0:
        ASSERT_EQ(::truncate((ends.source / "a").c_str(), 700'001), 0);
        break;
      case 1:
        ASSERT_EQ(::unlink((ends.source / "b").c_str()), 0);
        break;
      case 2:
        std::filesystem::remove_all(ends.source / "d");
        break;
      case 3:  // "d" is another kind of thing by the time it is descended into
        std::filesystem::rename(ends.source / "d", ends.source / "e");
        ASSERT_EQ(::symlink("e", (ends.source / "d").c_str()), 0);
        break;
      default:
        ASSERT_EQ(::unlink((ends.source / "b").c_str()), 0);
        ASSERT_EQ(::mkdir((ends.source / "b").c_str(), 0755), 0);
    }
  }
};

TEST_P(TreeMeddling, IsRepairedByTheNextRoundAndAnErrorInTheFinalOne) {
  for (const bool final : {false, true}) {
    Ends ends;
    std::mt19937_64 random(10);
    WriteTestFile(ends.source / "a", RandomBytes(random, 2 * kMiB));
    WriteTestFile(ends.source / "b", "b");
    ASSERT_EQ(::mkdir((ends.source / "d").c_str(), 0755), 0);
    WriteTestFile(ends.source / "d/f", "f");
    MeddlingSink sink([&] { Act(ends); });
    const auto sent = ends.sender.SendRound(sink, {.final = final});
    if (final && GetParam() < 3) {
      ASSERT_FALSE(sent);
      EXPECT_EQ(sent.error().code, ErrorCode::kFailedPrecondition);
    } else {
      ASSERT_TRUE(sent) << sent.error().message;
      EXPECT_GT(sent->unstable, 0u);
      StringSource source(sink.bytes);
      const auto received = ends.receiver.ReceiveRound(source);
      ASSERT_TRUE(received) << received.error().message;
    }
    const auto next = ends.Round({.final = true});
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
  }
}
INSTANTIATE_TEST_SUITE_P(Ways, TreeMeddling, testing::Range(0, 5));

TEST(TreeRound, ReportsProgressAndStops) {
  std::uint64_t reported = 0;
  std::stop_source stop;
  FileTreeSenderOptions options;
  options.progress = [&](std::uint64_t bytes) {
    EXPECT_GT(bytes, reported);
    reported = bytes;
    stop.request_stop();
  };
  Ends ends(options);
  std::mt19937_64 random(11);
  WriteTestFile(ends.source / "f", RandomBytes(random, 2 * kMiB));
  class SlowSink : public StringSink {
    Result<> Write(std::span<const std::byte> data) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(60));
      return StringSink::Write(data);
    }
  } slow;
  RoundOptions round;
  round.stop = stop.get_token();
  const auto stats = ends.sender.SendRound(slow, round);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code, ErrorCode::kCancelled);
  EXPECT_GT(reported, 0u);
  EXPECT_LT(slow.bytes.size(), kMiB);
}

}  // namespace
}  // namespace migrate::file_tree_test
