#include "migrated/ship/file_tree_path.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "migrated/ship/file_tree_test_util.h"

namespace migrate {
namespace {

TEST(TreePath, AcceptsOnlyRelativePlainPaths) {
  EXPECT_TRUE(IsTreePath("a"));
  EXPECT_TRUE(IsTreePath("a/b c/..d/...\n"));
  for (const char* bad : {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b"}) {
    EXPECT_FALSE(IsTreePath(bad)) << bad;
  }
  EXPECT_FALSE(IsTreePath(std::string_view("a\0b", 3)));
  EXPECT_TRUE(IsTreePath(std::string(255, 'x')));
  EXPECT_FALSE(IsTreePath(std::string(256, 'x')));
  std::string longest;
  while (longest.size() < 4093) {
    longest += "a/";
  }
  EXPECT_TRUE(IsTreePath(longest + "b"));
  EXPECT_FALSE(IsTreePath(longest + "bbb"));
}

TEST(TreePath, SplitsAndJoins) {
  EXPECT_EQ(SplitTreePath("a/b/c"), std::make_pair(std::string_view("a/b"), std::string_view("c")));
  EXPECT_EQ(SplitTreePath("c"), std::make_pair(std::string_view(), std::string_view("c")));
  EXPECT_EQ(JoinTreePath("", "c"), "c");
  EXPECT_EQ(JoinTreePath("a", "c"), "a/c");
  EXPECT_EQ(ShownPath("a\nb\x7f"), "a?b?");
}

TEST(TreePath, OpensNothingThroughASymlink) {
  const file_tree_test::TempDir dir;
  ASSERT_EQ(::mkdir((dir / "real").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("real", (dir / "link").c_str()), 0);
  ASSERT_EQ(::symlink("/", (dir / "out").c_str()), 0);
  const OwnedFd root = dir.Open();
  EXPECT_TRUE(OpenBeneath(root, "real", O_RDONLY));
  EXPECT_TRUE(OpenBeneath(root, "", O_RDONLY));
  EXPECT_FALSE(OpenBeneath(root, "link", O_RDONLY));
  EXPECT_FALSE(OpenBeneath(root, "out/etc", O_RDONLY));
  EXPECT_FALSE(OpenBeneath(root, "..", O_RDONLY));
}

}  // namespace
}  // namespace migrate
