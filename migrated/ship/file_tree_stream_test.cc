// Streams that no honest sender writes: corrupt, truncated, hostile. Either the round fails with a
// reason or the trees are equal; nothing outside the target's root is ever touched.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "migrated/ship/file_tree_frame.h"
#include "migrated/ship/file_tree_test_util.h"

namespace migrate::file_tree_test {
namespace {

class Stream {
 public:
  explicit Stream(bool full = true) {
    v1::TreeMessage message;
    v1::TreeRoundBegin& begin = *message.mutable_begin();
    begin.set_format_version(kTreeFormatVersion);
    begin.set_stream_id(1);
    begin.set_round(1);
    begin.set_full(full);
    Add(message);
  }
  void Add(const v1::TreeMessage& message) { EXPECT_TRUE(writer_.Send(message)); }
  v1::TreeEntry& Entry(const std::string& path, v1::TreeEntryType type) {
    message_.Clear();
    v1::TreeEntry& entry = *message_.mutable_entry();
    entry.set_path(path);
    entry.set_type(type);
    entry.set_content(type == v1::TREE_ENTRY_TYPE_DIRECTORY ? v1::TREE_CONTENT_KEEP
                                                            : v1::TREE_CONTENT_NEW);
    entry.mutable_attributes()->set_mode(0755);
    entry.mutable_attributes()->set_uid(::getuid());
    entry.mutable_attributes()->set_gid(::getgid());
    return entry;
  }
  void AddEntry() { Add(message_); }
  void AddFile(const std::string& path, const std::string& content) {
    Entry(path, v1::TREE_ENTRY_TYPE_REGULAR);
    AddEntry();
    AddData(0, content);
    AddEnd(content.size());
  }
  void AddDirectory(const std::string& path) {
    Entry(path, v1::TREE_ENTRY_TYPE_DIRECTORY);
    AddEntry();
  }
  void AddSymlink(const std::string& path, const std::string& target) {
    Entry(path, v1::TREE_ENTRY_TYPE_SYMLINK).set_symlink_target(target);
    AddEntry();
  }
  void AddData(std::uint64_t offset, const std::string& content) {
    v1::TreeMessage message;
    message.mutable_data()->set_offset(offset);
    message.mutable_data()->set_bytes(content);
    Add(message);
  }
  void AddEnd(std::uint64_t size) {
    v1::TreeMessage message;
    message.mutable_file_end()->set_size(size);
    Add(message);
  }
  std::string Finish() {
    v1::TreeMessage message;
    message.mutable_end()->set_messages(writer_.messages() - 1);
    Add(message);
    EXPECT_TRUE(writer_.Flush());
    return sink_.bytes;
  }

 private:
  const TreeProgress none_;
  StringSink sink_;
  FrameWriter writer_{sink_, {}, none_};
  v1::TreeMessage message_;
};

Result<RoundStats> Receive(const std::string& bytes, const TempDir& target,
                           FileTreeReceiverOptions options = {}) {
  FileTreeReceiver receiver(target.Open(), std::move(options));
  StringSource source(bytes);
  return receiver.ReceiveRound(source);
}

ErrorCode CodeOf(Stream& stream, FileTreeReceiverOptions options = {}) {
  const TempDir target;
  const auto stats = Receive(stream.Finish(), target, std::move(options));
  EXPECT_FALSE(stats);
  return stats ? ErrorCode::kInternal : stats.error().code;
}

TEST(TreeStream, AnHonestOneIsAccepted) {
  Stream stream;
  stream.AddDirectory("");
  stream.AddDirectory("d");
  stream.AddFile("d/f", "hello");
  const TempDir target;
  const auto stats = Receive(stream.Finish(), target);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(ReadTestFile(target / "d/f"), "hello");
}

TEST(TreeStream, BadPathsAreRefused) {
  for (const char* path : {"../x", "/etc/x", "a/../../x", "", "a//b", "x/", "./x", ".."}) {
    Stream stream;
    stream.AddFile(path, "evil");
    EXPECT_EQ(CodeOf(stream), ErrorCode::kInvalidArgument) << path;
  }
  const std::string outside = "../x";
  for (int kind = 0; kind < 4; ++kind) {
    Stream stream;
    stream.AddFile("ok", "content");
    v1::TreeMessage message;
    switch (kind) {
      case 0:
        message.mutable_remove()->set_path(outside);
        break;
      case 1:
        message.mutable_link()->set_path(outside);
        message.mutable_link()->set_target("ok");
        break;
      case 2:
        message.mutable_link()->set_path("new");
        message.mutable_link()->set_target(outside);
        break;
      default:
        message.mutable_append()->set_path(outside);
        message.mutable_append()->set_bytes("x");
    }
    stream.Add(message);
    EXPECT_EQ(CodeOf(stream), ErrorCode::kInvalidArgument) << kind;
  }
}

TEST(TreeStream, ASymlinkInTheMiddleIsNotFollowed) {
  const TempDir outside;
  WriteTestFile(outside / "victim", "untouched");
  for (int kind = 0; kind < 5; ++kind) {
    Stream stream;
    stream.AddSymlink("link", outside.path());
    stream.AddSymlink("leaf", outside / "victim");
    v1::TreeMessage message;
    switch (kind) {
      case 0:
        stream.AddFile("link/new", "evil");
        break;
      case 1:
        message.mutable_remove()->set_path("link/victim");
        stream.Add(message);
        break;
      case 2:
        message.mutable_link()->set_path("stolen");
        message.mutable_link()->set_target("link/victim");
        stream.Add(message);
        break;
      case 3:
        stream.AddDirectory("link/dir");
        break;
      default:
        stream.Entry("leaf2", v1::TREE_ENTRY_TYPE_REGULAR);
        message.mutable_append()->set_path("leaf");
        message.mutable_append()->set_offset(9);
        message.mutable_append()->set_bytes("evil");
        stream.Add(message);
    }
    const TempDir target;
    EXPECT_FALSE(Receive(stream.Finish(), target)) << kind;
    EXPECT_EQ(ReadTestFile(outside / "victim"), "untouched");
    EXPECT_NE(::access((outside / "new").c_str(), F_OK), 0);
    EXPECT_NE(::access((outside / "dir").c_str(), F_OK), 0);
  }
}

TEST(TreeStream, ASymlinkThatLiesOnTheTargetIsReplacedNotFollowed) {
  const TempDir outside;
  WriteTestFile(outside / "victim", "untouched");
  const TempDir target;
  ASSERT_EQ(::symlink(outside.path().c_str(), (target / "d").c_str()), 0);
  ASSERT_EQ(::symlink((outside / "victim").c_str(), (target / "f").c_str()), 0);
  Stream stream;
  stream.AddDirectory("");
  stream.AddFile("f", "new");
  stream.AddDirectory("d");
  stream.AddFile("d/victim", "new");
  const auto stats = Receive(stream.Finish(), target);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(ReadTestFile(outside / "victim"), "untouched");
  EXPECT_EQ(ReadTestFile(target / "d/victim"), "new");
}

TEST(TreeStream, DevicesNeedPermission) {
  Stream stream;
  stream.Entry("disk", v1::TREE_ENTRY_TYPE_BLOCK_DEVICE).set_device_major(8);
  stream.AddEntry();
  EXPECT_EQ(CodeOf(stream), ErrorCode::kPermissionDenied);
}

TEST(TreeStream, LimitsHold) {
  {
    Stream stream;
    stream.Entry("f", v1::TREE_ENTRY_TYPE_REGULAR).set_size(std::uint64_t{1} << 60);
    stream.AddEntry();
    EXPECT_EQ(CodeOf(stream), ErrorCode::kResourceExhausted);
  }
  for (const std::uint64_t length : {std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    Stream stream;
    stream.Entry("f", v1::TREE_ENTRY_TYPE_REGULAR);
    stream.AddEntry();
    v1::TreeMessage message;
    message.mutable_hole()->set_length(length);
    stream.Add(message);
    EXPECT_EQ(CodeOf(stream), ErrorCode::kDataLoss);
  }
  {
    Stream stream;
    stream.AddFile("f", std::string(1000, 'x'));
    EXPECT_EQ(CodeOf(stream, {.max_total_bytes = 999}), ErrorCode::kResourceExhausted);
  }
  {
    Stream stream;
    stream.AddFile("a", "x");
    stream.AddFile("b", "x");
    EXPECT_EQ(CodeOf(stream, {.max_entries = 1}), ErrorCode::kResourceExhausted);
  }
  {
    Stream stream;
    v1::TreeXattr& xattr =
        *stream.Entry("d", v1::TREE_ENTRY_TYPE_DIRECTORY).mutable_attributes()->add_xattrs();
    xattr.set_name("user.x");
    xattr.set_value(std::string(limits::kMaxXattrBytes + 1, 'x'));
    stream.AddEntry();
    EXPECT_EQ(CodeOf(stream), ErrorCode::kResourceExhausted);
  }
  {
    Stream stream;
    stream.Entry("d", v1::TREE_ENTRY_TYPE_DIRECTORY)
        .mutable_attributes()
        ->add_xattrs()
        ->set_name("system.other");
    stream.AddEntry();
    EXPECT_EQ(CodeOf(stream), ErrorCode::kInvalidArgument);
  }
}

TEST(TreeStream, ContentMustCoverTheFileInOrder) {
  for (int kind = 0; kind < 7; ++kind) {
    Stream stream;
    if (kind != 0) {
      stream.Entry("f", v1::TREE_ENTRY_TYPE_REGULAR);
      stream.AddEntry();
    }
    v1::TreeMessage message;
    switch (kind) {
      case 0:
        stream.AddData(0, "without a file");
        break;
      case 1:
        stream.AddData(5, "a gap");
        break;
      case 2:
        stream.AddData(0, "twice");
        stream.AddData(0, "twice");
        break;
      case 3:
        stream.AddData(0, "short");
        stream.AddEnd(100);
        break;
      case 4:
        stream.AddDirectory("meanwhile");
        break;
      case 5:  // never ended
        break;
      default:
        message.mutable_same()->set_length(10);
        stream.Add(message);
        stream.AddEnd(10);
    }
    EXPECT_EQ(CodeOf(stream), ErrorCode::kDataLoss) << kind;
  }
}

TEST(TreeStream, NothingIsNamedTwice) {
  Stream stream;
  stream.AddFile("f", "one");
  stream.AddFile("f", "two");
  EXPECT_EQ(CodeOf(stream), ErrorCode::kDataLoss);
}

TEST(TreeStream, ADifferenceNeedsItsBase) {
  Stream stream(false);
  EXPECT_EQ(CodeOf(stream), ErrorCode::kFailedPrecondition);
  Stream missing;
  missing.Entry("f", v1::TREE_ENTRY_TYPE_REGULAR).set_content(v1::TREE_CONTENT_DELTA);
  missing.AddEntry();
  EXPECT_EQ(CodeOf(missing), ErrorCode::kDataLoss);
}

TEST(TreeStream, AnotherVersionIsRefused) {
  const TempDir target;
  const TreeProgress none;
  StringSink sink;
  FrameWriter writer(sink, {}, none);
  v1::TreeMessage message;
  message.mutable_begin()->set_format_version(kTreeFormatVersion + 1);
  message.mutable_begin()->set_full(true);
  ASSERT_TRUE(writer.Send(message));
  ASSERT_TRUE(writer.Flush());
  const auto stats = Receive(sink.bytes, target);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code, ErrorCode::kVersionMismatch);
}

void SmallTree(const TempDir& dir) {
  WriteTestFile(dir / "a", "content of a");
  ASSERT_EQ(::mkdir((dir / "d").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("a", (dir / "d/s").c_str()), 0);
  ASSERT_EQ(::link((dir / "a").c_str(), (dir / "d/l").c_str()), 0);
}

TEST(TreeStream, EveryFlippedByteIsFound) {
  Ends ends;
  SmallTree(ends.source);
  StringSink first;
  ASSERT_TRUE(ends.sender.SendRound(first, {}));
  for (std::size_t i = 0; i < first.bytes.size(); ++i) {
    std::string flipped = first.bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x41);
    const TempDir target;
    EXPECT_FALSE(Receive(flipped, target)) << i;
  }
}

TEST(TreeStream, EveryTruncationIsFoundInEachRound) {
  Ends ends;
  SmallTree(ends.source);
  StringSink first;
  ASSERT_TRUE(ends.sender.SendRound(first, {}));
  WriteTestFile(ends.source / "a", "another content");
  ASSERT_EQ(::unlink((ends.source / "d/s").c_str()), 0);
  StringSink second;
  ASSERT_TRUE(ends.sender.SendRound(second, {}));
  for (std::size_t size = 0; size < first.bytes.size(); ++size) {
    const TempDir target;
    EXPECT_FALSE(Receive(first.bytes.substr(0, size), target)) << size;
  }
  for (std::size_t size = 0; size <= second.bytes.size(); ++size) {
    const TempDir target;
    FileTreeReceiver receiver(target.Open(), {});
    StringSource source(first.bytes + second.bytes.substr(0, size));
    ASSERT_TRUE(receiver.ReceiveRound(source));
    const auto stats = receiver.ReceiveRound(source);
    EXPECT_EQ(stats.has_value(), size == second.bytes.size()) << size;
    if (stats) {
      EXPECT_EQ(Differences(ends.source.path(), target.path()), "");
    }
  }
}

TEST(TreeStream, AfterAFailedRoundOnlyAFullOneIsAccepted) {
  Ends ends;
  SmallTree(ends.source);
  ASSERT_TRUE(ends.Round());
  WriteTestFile(ends.source / "a", "another content");
  StringSink broken;
  ASSERT_TRUE(ends.sender.SendRound(broken, {}));
  StringSource half(broken.bytes.substr(0, broken.bytes.size() / 2));
  ASSERT_FALSE(ends.receiver.ReceiveRound(half));
  StringSource again(broken.bytes);
  const auto refused = ends.receiver.ReceiveRound(again);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  // The sender learns of a failure through its sink, and starts over.
  StringSink gone;
  gone.fail_after = 0;
  ASSERT_FALSE(ends.sender.SendRound(gone, {}));
  const auto stats = ends.Round();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

}  // namespace
}  // namespace migrate::file_tree_test
