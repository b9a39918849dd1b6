#include "migrated/source_traffic.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

constexpr char kContainer[] = "172.17.0.2";

ConntrackEntry Entry(ConntrackTuple original, ConntrackTuple reply) {
  ConntrackEntry entry;
  entry.original = std::move(original);
  entry.reply = std::move(reply);
  return entry;
}

TEST(MakeHoldSpecTest, HoldsWhatTheOtherEndSendsAsItComesIn) {
  const auto published =
      Entry({"10.0.0.9", 5000, "10.0.0.1", 8080}, {kContainer, 80, "10.0.0.9", 5000});
  const auto masqueraded =
      Entry({kContainer, 4000, "10.0.0.8", 5432}, {"10.0.0.8", 5432, "10.0.0.1", 4000});
  const HoldSpec spec =
      MakeHoldSpec("0123456789abcdef", {}, {kContainer}, {published, masqueraded});
  ASSERT_EQ(spec.tuples.size(), 2U);
  EXPECT_EQ(spec.tuples[0].tuple, published.original);
  EXPECT_EQ(spec.tuples[1].tuple, masqueraded.reply);
  EXPECT_EQ(spec.addresses, std::vector<std::string>{kContainer});
  EXPECT_FALSE(spec.only_new);
}

TEST(MakeHoldSpecTest, LeavesOtherContainersAlone) {
  const auto other =
      Entry({"10.0.0.9", 5000, "10.0.0.1", 8081}, {"172.17.0.3", 80, "10.0.0.9", 5000});
  EXPECT_TRUE(MakeHoldSpec("0123456789abcdef", {}, {kContainer}, {other}).tuples.empty());
}

}  // namespace
}  // namespace migrate
