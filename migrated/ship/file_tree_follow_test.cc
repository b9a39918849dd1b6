// Files that are sent while they grow, as CRIU writes its pages-*.img.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "migrated/ship/file_tree_test_util.h"

namespace migrate::file_tree_test {
namespace {

void Append(const std::string& path, const std::string& bytes) {
  const OwnedFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
}

TEST(TreeFollow, SendsWhileTheFilesGrowAndThenOnlyTheRest) {
  Ends ends;
  WriteTestFile(ends.target / "pages-1.img", "left over from another attempt");
  WriteTestFile(ends.target / "rubbish", "x");
  std::mt19937_64 random(1);
  const std::string chunk = RandomBytes(random, 300'001);
  std::atomic<bool> done = false;
  std::thread producer([&] {
    for (int i = 0; i < 40; ++i) {
      Append(ends.source / ("pages-" + std::to_string(i % 2 + 1) + ".img"), chunk);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    Append(ends.source / "core-1.img", "small");
    done = true;
  });
  StringSink sink;
  FollowOptions follow;
  follow.finished = [&] { return done.load(); };
  const auto followed = ends.sender.SendAppendedFiles(sink, follow);
  producer.join();
  ASSERT_TRUE(followed) << followed.error().message;
  EXPECT_EQ(followed->bytes_read, 40 * chunk.size());
  EXPECT_EQ(followed->files_changed, 2u);
  StringSource source(sink.bytes);
  const auto received = ends.receiver.ReceiveRound(source);
  ASSERT_TRUE(received) << received.error().message;
  EXPECT_EQ(ReadTestFile(ends.target / "pages-1.img"), ReadTestFile(ends.source / "pages-1.img"));

  Append(ends.source / "pages-2.img", "the last bytes");
  const auto last = ends.Round({.final = true});
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_LT(last->bytes_sent, 2000u);
  EXPECT_LT(last->bytes_read, 100u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");

  // After that it is a file like any other, only without digests: sent whole if it changes.
  Append(ends.source / "pages-2.img", "more");
  ASSERT_TRUE(ends.Round());
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeFollow, ContinuesFilesOfEarlierRounds) {
  Ends ends;
  Append(ends.source / "pages-1.img", std::string(100'000, 'a'));
  ASSERT_TRUE(ends.Round());
  Append(ends.source / "pages-1.img", std::string(50'000, 'b'));
  StringSink sink;
  const auto followed = ends.sender.SendAppendedFiles(sink, {});
  ASSERT_TRUE(followed);
  EXPECT_EQ(followed->bytes_read, 50'000u);
  StringSource source(sink.bytes);
  ASSERT_TRUE(ends.receiver.ReceiveRound(source));
  const auto last = ends.Round({.final = true});
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(last->bytes_read, 0u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeFollow, AFileReplacedMeanwhileIsSentByTheRound) {
  Ends ends;
  Append(ends.source / "pages-1.img", "old old old");
  StringSink sink;
  ASSERT_TRUE(ends.sender.SendAppendedFiles(sink, {}));
  StringSource source(sink.bytes);
  ASSERT_TRUE(ends.receiver.ReceiveRound(source));
  WriteTestFile(ends.source / "new", "new");
  ASSERT_EQ(::rename((ends.source / "new").c_str(), (ends.source / "pages-1.img").c_str()), 0);
  ASSERT_TRUE(ends.Round({.final = true}));
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeFollow, CanBeCancelled) {
  Ends ends;
  std::stop_source stop;
  FollowOptions follow;
  follow.finished = [&] {
    stop.request_stop();
    return false;
  };
  follow.stop = stop.get_token();
  StringSink sink;
  const auto stats = ends.sender.SendAppendedFiles(sink, follow);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace migrate::file_tree_test
