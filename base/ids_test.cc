#include "base/ids.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

TEST(Ids, NewIdsAreValidAndDiffer) {
  const std::string a = NewMigrationId();
  EXPECT_TRUE(IsMigrationId(a));
  EXPECT_NE(a, NewMigrationId());
}

TEST(Ids, OthersAreNot) {
  EXPECT_FALSE(IsMigrationId(""));
  EXPECT_FALSE(IsMigrationId("../../etc/passwd"));
  EXPECT_FALSE(IsMigrationId("ABCDEF0123456789"));
  EXPECT_FALSE(IsContainerId("abc"));
  EXPECT_TRUE(IsContainerId(std::string(64, 'a')));
}

}  // namespace
}  // namespace migrate
