#include "cli/units.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

using namespace std::chrono_literals;

TEST(Units, Bytes) {
  EXPECT_EQ(*ParseBytes("200M"), 200'000'000u);
  EXPECT_EQ(*ParseBytes("1.5G"), 1'500'000'000u);
  EXPECT_EQ(*ParseBytes("64KiB"), 65536u);
  EXPECT_EQ(*ParseBytes("12"), 12u);
  for (const char* text : {"", "M", "-1M", "5X", "1e999"}) {
    EXPECT_FALSE(ParseBytes(text)) << text;
  }
}

TEST(Units, Durations) {
  EXPECT_EQ(*ParseDuration("2m"), 2min);
  EXPECT_EQ(*ParseDuration("500ms"), 500ms);
  EXPECT_EQ(*ParseDuration("3"), 3s);
  EXPECT_FALSE(ParseDuration("soon"));
}

TEST(Units, Formats) {
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1'400'000'000), "1.4 GB");
  EXPECT_EQ(FormatMilliseconds(12.4), "12 ms");
  EXPECT_EQ(FormatMilliseconds(1234), "1.23 s");
}

}  // namespace
}  // namespace migrate
