#include "base/vdso_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

namespace migrate {
namespace {

using ::testing::HasSubstr;

TEST(VdsoImage, FindsTheFunctions) {
  const auto image = OwnVdso();
  ASSERT_TRUE(image) << image.error().message;
  for (const char* name : {"clock_gettime", "gettimeofday", "time", "getcpu"}) {
    const VdsoFunction* function = image->Find(name);
    ASSERT_NE(function, nullptr) << name;
    EXPECT_GT(function->size, 7u);
    EXPECT_LE(function->offset + function->size, image->bytes.size());
  }
  EXPECT_EQ(image->Find("read_mind"), nullptr);
}

// Whatever the bytes: an answer inside the image, or an error, and never a crash.
TEST(VdsoImage, AnyByteMayBeWrong) {
  const auto good = OwnVdso().value();
  const auto check = [](std::vector<std::byte> bytes) {
    const auto image = ParseVdso(std::move(bytes));
    if (image) {
      for (const VdsoFunction& function : image->functions) {
        EXPECT_LE(std::uint64_t{function.offset} + function.size, image->bytes.size());
      }
    }
  };
  const std::size_t tables = std::min<std::size_t>(good.bytes.size(), 2048);
  for (std::size_t at = 0; at < tables; ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      auto bytes = good.bytes;
      bytes[at] ^= static_cast<std::byte>(flip);
      check(std::move(bytes));
    }
    check({good.bytes.begin(), good.bytes.begin() + static_cast<std::ptrdiff_t>(at)});
  }
  EXPECT_FALSE(ParseVdso({}));
  EXPECT_FALSE(ParseVdso(std::vector<std::byte>(8192)));
}

constexpr const char* kMaps =
    "55c52ae44000-55c52ae46000 r--p 00000000 fe:00 247134    /usr/bin/a name\n"
    "7f97a5c67000-7f97a5c6b000 r--p 00000000 00:00 0         [vvar]\n"
    "7f97a5c6d000-7f97a5c6f000 r-xp 00000000 00:00 0         [vdso]\n"
    "7ffcea31e000-7ffcea33f000 rw-s 00001000 00:00 0 \n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";

TEST(ProcMaps, Parses) {
  const auto mappings = ParseProcMaps(kMaps).value();
  ASSERT_EQ(mappings.size(), 5u);
  EXPECT_EQ(mappings[0].name, "/usr/bin/a name");
  EXPECT_EQ(mappings[0].inode, 247134u);
  EXPECT_FALSE(mappings[0].executable);
  EXPECT_TRUE(mappings[2].executable);
  EXPECT_EQ(mappings[3].name, "");
  EXPECT_TRUE(mappings[3].shared);
  EXPECT_EQ(mappings[3].offset, 0x1000u);
  EXPECT_FALSE(ParseProcMaps("nonsense\n"));
  EXPECT_FALSE(ParseProcMaps("1000-2000"));
  EXPECT_TRUE(ParseProcMaps("")->empty());
}

TEST(ProcMaps, FindsRoomNearTheVdso) {
  auto mappings = ParseProcMaps(kMaps).value();
  constexpr std::uint64_t kReach = 1 << 30;
  EXPECT_EQ(FindFreeRange(mappings, mappings[2], 0x4000, kReach, 0x1000), 0x7f97a5c6f000u);
  // Something right above: then below what is below, at a distance.
  mappings.insert(mappings.begin() + 3, Mapping{.start = 0x7f97a5c6f000, .end = 0x7ffcea31e000, .name = ""});
  EXPECT_EQ(FindFreeRange(mappings, mappings[2], 0x4000, kReach, 0x1000), 0x7f97a5c67000u - 0x5000);
  mappings.insert(mappings.begin() + 1, Mapping{.start = 0x7f9000000000, .end = 0x7f97a5c67000, .name = ""});
  EXPECT_EQ(FindFreeRange(mappings, mappings[3], 0x4000, kReach, 0x1000), 0u);
}

}  // namespace
}  // namespace migrate
