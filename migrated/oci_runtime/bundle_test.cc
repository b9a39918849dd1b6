#include "migrated/oci_runtime/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOldEngine =
    R"({"z":1,"hooks":{"prestart":[{"path":"/proc/7/exe","args":["libnetwork-setkey","-x"]}]},)"
    R"("linux":{"cgroupsPath":"/docker/abc","namespaces":[{"type":"mount"},{"type":"network"}]}})";
constexpr const char* kNewEngine =
    R"({"linux":{"cgroupsPath":"system.slice:docker:abc","namespaces":[{"type":"network"}]}})";
constexpr const char* kHostNetwork = R"({"linux":{"namespaces":[{"type":"mount"}]}})";
constexpr const char* kJoined =
    R"({"linux":{"namespaces":[{"type":"network","path":"/proc/1/ns/net"}]}})";

TEST(Bundle, OurHookStandsBeforeDockers) {
  EXPECT_EQ(
      WithPrestartHooks(kOldEngine, {{"/bin/r", {"r", "hook"}, 5}}).value(),
      R"({"z":1,"hooks":{"prestart":[{"path":"/bin/r","args":["r","hook"],"timeout":5},)"
      R"({"path":"/proc/7/exe","args":["libnetwork-setkey","-x"]}]},)"
      R"("linux":{"cgroupsPath":"/docker/abc","namespaces":[{"type":"mount"},{"type":"network"}]}})");
  EXPECT_EQ(WithPrestartHooks("{}", {{"/bin/r", {"r"}, 0}}).value(),
            R"({"hooks":{"prestart":[{"path":"/bin/r","args":["r"]}]}})");
}

TEST(Bundle, MalformedConfigIsAnError) {
  EXPECT_FALSE(WithPrestartHooks("[]", {}));
  EXPECT_FALSE(WithPrestartHooks("{", {}));
  EXPECT_FALSE(WithPrestartHooks(R"({"hooks":7})", {}));
  EXPECT_FALSE(WithPrestartHooks(R"({"hooks":{"prestart":7}})", {}));
}

TEST(Bundle, KnowsWhoSetsTheNetworkUp) {
  EXPECT_TRUE(HasNetworkHook(kOldEngine).value());
  EXPECT_FALSE(HasNetworkHook(kNewEngine).value());
  EXPECT_TRUE(MakesNetworkNamespace(kOldEngine).value());
  EXPECT_TRUE(MakesNetworkNamespace(kNewEngine).value());
  EXPECT_FALSE(MakesNetworkNamespace(kHostNetwork).value());
  EXPECT_FALSE(MakesNetworkNamespace(kJoined).value());
}

TEST(Bundle, CgroupsPath) {
  EXPECT_EQ(CgroupsPath(kOldEngine), "/docker/abc");
  EXPECT_EQ(CgroupsPath(kNewEngine), "/system.slice/docker-abc.scope");
  EXPECT_EQ(CgroupsPath(R"({"linux":{"cgroupsPath":"a-b.slice:docker:x"}})"),
            "/a.slice/a-b.slice/docker-x.scope");
  EXPECT_EQ(CgroupsPath(R"({"linux":{"cgroupsPath":"relative"}})"), "");
  EXPECT_EQ(CgroupsPath("nonsense"), "");
}

TEST(Bundle, LinkedMountSourcesAreResolved) {
  std::string name = ::testing::TempDir() + "bundle_XXXXXX";
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  const fs::path directory = fs::canonical(name);
  std::ofstream(directory / "real") << "x";
  fs::create_symlink("real", directory / "link");
  fs::create_symlink("nowhere", directory / "dangling");
  const auto config = [&](const std::string& first) {
    return R"({"mounts":[{"source":")" + (directory / first).string() +
           R"(","type":"bind"},{"source":"proc"},{"source":")" + (directory / "dangling").string() +
           R"("}]})";
  };
  EXPECT_EQ(WithResolvedMountSources(config("link")).value(), config("real"));
  EXPECT_EQ(WithResolvedMountSources(config("real")).value(), config("real"));
  EXPECT_EQ(WithResolvedMountSources("{}").value(), "{}");
  fs::remove_all(directory);
}

TEST(Bundle, EditIsUndone) {
  std::string name = ::testing::TempDir() + "bundle_XXXXXX";
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  const fs::path file = fs::path(name) / "config.json";
  std::ofstream(file) << kOldEngine;
  {
    const auto edit = BundleEdit::Apply(name, {{"/bin/r", {"r"}, 0}});
    ASSERT_TRUE(edit);
    EXPECT_NE(ReadSmallFile(file).value(), kOldEngine);
    EXPECT_EQ(edit->original(), kOldEngine);
  }
  EXPECT_EQ(ReadSmallFile(file).value(), kOldEngine);
  fs::remove_all(name);
}

}  // namespace
}  // namespace migrate
