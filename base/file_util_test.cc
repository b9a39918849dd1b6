#include "base/file_util.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace migrate {
namespace {

TEST(FileUtil, AtomicWriteReplacesAndLeavesNoTemporary) {
  char name[] = "/tmp/migrate_file_util_XXXXXX";
  const std::filesystem::path directory = mkdtemp(name);
  const auto file = directory / "f";
  ASSERT_TRUE(WriteFileAtomically(file, "one"));
  ASSERT_TRUE(WriteFileAtomically(file, "two"));
  EXPECT_EQ(*ReadSmallFile(file), "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1);
  EXPECT_EQ(ReadSmallFile(file, 2).error().code, ErrorCode::kResourceExhausted);
  std::filesystem::remove_all(directory);
}

TEST(FileUtil, MissingFileIsNamed) {
  EXPECT_EQ(ReadSmallFile("/no/such").error().message, "open /no/such: No such file or directory");
}

}  // namespace
}  // namespace migrate
