// Random trees that change between rounds: after each round both trees are equal in everything.
#include <gtest/gtest.h>

#include <thread>

#include "migrated/ship/file_tree_test_util.h"

namespace migrate::file_tree_test {
namespace {

class FileTreeRandom : public testing::TestWithParam<int> {};

TEST_P(FileTreeRandom, RoundsMakeTreesEqual) {
  const int seed = GetParam();
  Ends ends;
  RandomTree tree(ends.source.path(), static_cast<std::uint64_t>(seed));
  tree.Create(60);
  for (int round = 0; round < 8; ++round) {
    RoundOptions options;
    options.final = round == 7;
    options.verify_unchanged = seed % 4 != 0;
    const auto stats = ends.Round(options);
    ASSERT_TRUE(stats) << "seed " << seed << " round " << round << ": " << stats.error().message;
    ASSERT_EQ(Differences(ends.source.path(), ends.target.path()), "")
        << "seed " << seed << " round " << round;
    EXPECT_EQ(stats->unstable, 0u);
    tree.Mutate(round % 3 == 2 ? 60 : 8);
  }
}

// A full round onto a tree that holds something else altogether.
TEST_P(FileTreeRandom, FullRoundReplacesWhatWasThere) {
  const auto seed = static_cast<std::uint64_t>(GetParam());
  Ends ends;
  RandomTree(ends.source.path(), seed).Create(40);
  RandomTree(ends.target.path(), seed + 1000).Create(40);
  const auto stats = ends.Round();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

TEST_P(FileTreeRandom, SecondRoundSendsNothing) {
  Ends ends;
  RandomTree(ends.source.path(), static_cast<std::uint64_t>(GetParam())).Create(60);
  ASSERT_TRUE(ends.Round());
  const auto stats = ends.Round();
  ASSERT_TRUE(stats);
  EXPECT_LT(stats->bytes_sent, 100u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "");
}

// Rounds while somebody writes, then one when he has stopped.
TEST_P(FileTreeRandom, LiveTreeConverges) {
  const auto seed = static_cast<std::uint64_t>(GetParam());
  Ends ends;
  RandomTree tree(ends.source.path(), seed);
  tree.Create(40);
  {
    std::jthread container([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        tree.Mutate(1);
      }
    });
    for (int round = 0; round < 6; ++round) {
      const auto stats = ends.Round();
      ASSERT_TRUE(stats) << "seed " << seed << ": " << stats.error().message;
    }
  }
  const auto stats = ends.Round({.final = true});
  ASSERT_TRUE(stats) << "seed " << seed << ": " << stats.error().message;
  EXPECT_EQ(stats->unstable, 0u);
  EXPECT_EQ(Differences(ends.source.path(), ends.target.path()), "") << "seed " << seed;
}

INSTANTIATE_TEST_SUITE_P(Seeds, FileTreeRandom, testing::Range(0, 60));

}  // namespace
}  // namespace migrate::file_tree_test
