#include "migrated/ship/file_tree_frame.h"

#include <gtest/gtest.h>

#include "migrated/ship/file_tree_test_util.h"

namespace migrate {
namespace {

using file_tree_test::StringSink;
using file_tree_test::StringSource;

v1::TreeMessage Hole(std::uint64_t offset) {
  v1::TreeMessage message;
  message.mutable_hole()->set_offset(offset);
  return message;
}

std::vector<std::string> Frames(int count) {
  const TreeProgress none;
  StringSink sink;
  FrameWriter writer(sink, {}, none);
  std::vector<std::string> frames;
  for (int i = 0; i < count; ++i) {
    sink.bytes.clear();
    EXPECT_TRUE(writer.Send(Hole(static_cast<std::uint64_t>(i) + 1)));
    EXPECT_TRUE(writer.Flush());
    frames.push_back(sink.bytes);
  }
  return frames;
}

// The number of frames that are accepted before an error or the end.
int Accepted(const std::string& bytes) {
  const TreeProgress none;
  StringSource source(bytes, 1);
  FrameReader reader(source, {}, none);
  v1::TreeMessage message;
  int count = 0;
  while (reader.Next(message)) {
    ++count;
    EXPECT_EQ(message.hole().offset(), static_cast<std::uint64_t>(count));
  }
  return count;
}

TEST(TreeFrame, RoundTrips) {
  const auto f = Frames(3);
  EXPECT_EQ(Accepted(f[0] + f[1] + f[2]), 3);
}

TEST(TreeFrame, LostDoubledAndReorderedFramesAreFound) {
  const auto f = Frames(3);
  EXPECT_EQ(Accepted(f[0] + f[2]), 1);
  EXPECT_EQ(Accepted(f[0] + f[0] + f[1]), 1);
  EXPECT_EQ(Accepted(f[1] + f[0]), 0);
}

TEST(TreeFrame, EveryFlippedBitAndTruncationIsFound) {
  const auto f = Frames(2);
  const std::string whole = f[0] + f[1];
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(Accepted(whole.substr(0, i)), i < f[0].size() ? 0 : 1);
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      EXPECT_EQ(Accepted(flipped), i < f[0].size() ? 0 : 1);
    }
  }
}

TEST(TreeFrame, StopsWhenAskedTo) {
  const TreeProgress none;
  std::stop_source stop;
  StringSink sink;
  FrameWriter writer(sink, stop.get_token(), none);
  ASSERT_TRUE(writer.Send(Hole(1)));
  stop.request_stop();
  const auto sent = writer.Send(Hole(2));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace migrate
