// What needs root: devices, overlayfs marks, ACLs, mounts, a full disk, deep trees.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "base/scope_exit.h"
#include "migrated/ship/file_tree_test_util.h"

namespace migrate::file_tree_test {
namespace {

TEST(TreeSpecial, OverlayUpperDirectory) {
  FileTreeReceiverOptions no_devices;
  Ends ends({}, no_devices);
  ASSERT_EQ(::mknod((ends.source / "whiteout").c_str(), S_IFCHR, 0), 0);
  ASSERT_EQ(::link((ends.source / "whiteout").c_str(), (ends.source / "whiteout2").c_str()), 0);
  ASSERT_EQ(::mkdir((ends.source / "opaque").c_str(), 01777), 0);
  ASSERT_EQ(::setxattr((ends.source / "opaque").c_str(), "trusted.overlay.opaque", "y", 1, 0), 0);
  WriteTestFile(ends.source / "metacopy", "");
  ASSERT_EQ(::setxattr((ends.source / "metacopy").c_str(), "trusted.overlay.metacopy", "", 0, 0),
            0);
  ASSERT_EQ(::setxattr((ends.source / "metacopy").c_str(), "trusted.overlay.redirect", "/x", 2, 0),
            0);
  const auto stats = ends.Round({.final = true});
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeSpecial, DevicesAreRefusedUnlessAllowed) {
  FileTreeReceiverOptions no_devices;
  Ends ends({}, no_devices);
  ASSERT_EQ(::mknod((ends.source / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  const auto stats = ends.Round();
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code, ErrorCode::kPermissionDenied);
  EXPECT_NE(stats.error().message.find("null"), std::string::npos);
  EXPECT_NE(::access((ends.target / "null").c_str(), F_OK), 0);
}

// What a new entry inherits from its directory (default ACL, setgid group) must not stay on it.
TEST(TreeSpecial, InheritedAttributesAreRemoved) {
  Ends ends;
  const std::string directory = ends.source / "d";
  ASSERT_EQ(::mkdir(directory.c_str(), 0755), 0);
  WriteTestFile(directory + "/before", "x");
  ASSERT_EQ(::mkdir((directory + "/sub").c_str(), 0755), 0);
  // version 2: user::rwx user:33:rwx group::r-x mask::rwx other::---
  const unsigned char acl[] = {2,  0, 0, 0,                      //
                               1,  0, 7, 0, 255, 255, 255, 255,  //
                               2,  0, 7, 0, 33,  0,   0,   0,    //
                               4,  0, 5, 0, 255, 255, 255, 255,  //
                               16, 0, 7, 0, 255, 255, 255, 255,  //
                               32, 0, 0, 0, 255, 255, 255, 255};
  ASSERT_EQ(::setxattr(directory.c_str(), "system.posix_acl_default", acl, sizeof(acl), 0), 0);
  ASSERT_EQ(::chown(directory.c_str(), 5, 6), 0);
  ASSERT_EQ(::chmod(directory.c_str(), 02755), 0);
  WriteTestFile(directory + "/after", "x");
  ASSERT_EQ(
      ::setxattr((directory + "/after").c_str(), "system.posix_acl_access", acl, sizeof(acl), 0),
      0);
  const auto stats = ends.Round();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

// Writing to a file takes its capabilities and its setuid bit away: they are put back.
TEST(TreeSpecial, CapabilitiesSurviveADelta) {
  Ends ends;
  WriteTestFile(ends.source / "ping", std::string(100'000, 'x'));
  const std::uint32_t capability[5] = {0x02000001, 1U << 13, 0, 0, 0};
  const auto set = [&] {
    ASSERT_EQ(::setxattr((ends.source / "ping").c_str(), "security.capability", capability,
                         sizeof(capability), 0),
              0);
    ASSERT_EQ(::chmod((ends.source / "ping").c_str(), 06755), 0);
  };
  set();
  ASSERT_TRUE(ends.Round());
  const OwnedFd fd(::open((ends.source / "ping").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), "y", 1, 70'000), 1);
  set();
  ASSERT_TRUE(ends.Round());
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeSpecial, ExcludesAndSkippedXattrs) {
  FileTreeSenderOptions options;
  options.excludes = {"skip", "d/skip"};
  options.skip_xattrs = {"trusted.overlay.origin"};
  Ends ends(options);
  ASSERT_EQ(::mkdir((ends.source / "d").c_str(), 0755), 0);
  for (const char* name : {"skip", "d/skip", "d/skipper"}) {
    WriteTestFile(ends.source / name, "x");
  }
  ASSERT_EQ(::setxattr((ends.source / "d").c_str(), "trusted.overlay.origin", "x", 1, 0), 0);
  ASSERT_TRUE(ends.Round());
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()),
            "d: xattrs\nd/skip: missing\nskip: missing\n");
}

TEST(TreeSpecial, MountsAreNotCrossed) {
  for (const bool cross : {false, true}) {
    FileTreeSenderOptions options;
    options.cross_mounts = cross;
    Ends ends(options);
    const std::string other = ends.source / "other";
    const std::string mounted = ends.source / "mounted";
    ASSERT_EQ(::mkdir(other.c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(mounted.c_str(), 0755), 0);
    WriteTestFile(other + "/f", "x");
    // A bind mount of the same filesystem: the device number does not tell.
    ASSERT_EQ(::mount(other.c_str(), mounted.c_str(), nullptr, MS_BIND, nullptr), 0);
    const ScopeExit unmount([&] { ::umount2(mounted.c_str(), MNT_DETACH); });
    ASSERT_TRUE(ends.Round());
    EXPECT_EQ(::access((ends.target / "mounted/f").c_str(), F_OK) == 0, cross);
    EXPECT_EQ(::access((ends.target / "mounted").c_str(), F_OK), 0);
  }
}

TEST(TreeSpecial, AFullDiskIsNamed) {
  Ends ends;
  ASSERT_EQ(::mount("tmpfs", ends.target.path().c_str(), "tmpfs", 0, "size=256k,mode=755"), 0);
  const ScopeExit unmount([&] { ::umount2(ends.target.path().c_str(), MNT_DETACH); });
  FileTreeReceiver receiver(ends.target.Open(), {});
  WriteTestFile(ends.source / "small", "x");
  WriteTestFile(ends.source / "the big one", std::string(1024 * 1024, 'x'));
  StringSink sink;
  ASSERT_TRUE(ends.sender.SendRound(sink, {}));
  StringSource source(sink.bytes);
  const auto stats = receiver.ReceiveRound(source);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(stats.error().message, "no space left on target for the big one");
}

TEST(TreeSpecial, DeepTreesNeedNoDescriptorPerLevel) {
  Ends ends;
  std::string path = ends.source.path();
  for (int i = 0; i < 1500; ++i) {
    path += "/d";
    ASSERT_EQ(::mkdir(path.c_str(), 0755), 0);
  }
  ASSERT_TRUE(ends.Round());
  const auto removed = [&] {
    std::filesystem::remove_all(ends.source / "d");
    return ends.Round();
  }();
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(removed->removed, 1u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST(TreeSpecial, FinalRoundCanSync) {
  FileTreeReceiverOptions options;
  options.sync = true;
  Ends ends({}, options);
  WriteTestFile(ends.source / "f", "x");
  ASSERT_TRUE(ends.Round({.final = true}));
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

}  // namespace
}  // namespace migrate::file_tree_test
