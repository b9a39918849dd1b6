#include "migrated/oci_runtime/daemon_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const RuntimeEntry kEntry{"migrate", "/usr/bin/migrate-runtime", "/run/m"};

constexpr const char* kBefore = R"({
    "zeta": [1, 2.50, {"a": null}],
    "runtimes": {
        "crun": {
            "path": "/usr/bin/crun"
        }
    },
    "alpha": "ü \" \\"
}
)";

TEST(DaemonJson, KeepsOrderValuesAndIndentation) {
  const std::string after = WithRuntime(kBefore, kEntry).value();
  EXPECT_LT(after.find("zeta"), after.find("runtimes"));
  EXPECT_LT(after.find("crun"), after.find("\"migrate\""));
  EXPECT_LT(after.find("runtimes"), after.find("alpha"));
  EXPECT_THAT(after, HasSubstr("\n    \"alpha\": \"ü \\\" \\\\\""));
  EXPECT_THAT(after, HasSubstr("\"--state-dir=/run/m\""));
  EXPECT_EQ(WithRuntime(after, kEntry).value(), after) << "a second time changes nothing";
  EXPECT_EQ(
      WithoutRuntime(after, kEntry).value(),
      WithoutRuntime(WithRuntime(WithoutRuntime(after, kEntry).value(), kEntry).value(), kEntry)
          .value());
}

TEST(DaemonJson, NoFileYet) {
  const std::string after = WithRuntime("", kEntry).value();
  EXPECT_THAT(after, HasSubstr("/usr/bin/migrate-runtime"));
  EXPECT_EQ(WithoutRuntime(after, kEntry).value(), "{}\n");
}

TEST(DaemonJson, RefusesWhatItDoesNotUnderstand) {
  EXPECT_EQ(WithRuntime("{ \"a\": 1, }", kEntry).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(WithRuntime("[]", kEntry).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(WithRuntime(R"({"runtimes": []})", kEntry).error().code, ErrorCode::kInvalidArgument);
}

TEST(DaemonJson, RefusesAnotherRuntimeOfThatName) {
  const char* other = R"({"runtimes": {"migrate": {"path": "/opt/other"}}})";
  const auto added = WithRuntime(other, kEntry);
  EXPECT_EQ(added.error().code, ErrorCode::kAlreadyExists);
  EXPECT_THAT(added.error().message, HasSubstr("/opt/other"));
  EXPECT_EQ(WithoutRuntime(other, kEntry).error().code, ErrorCode::kFailedPrecondition);
}

class DaemonJsonFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "daemon_json_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    file_ = fs::path(name) / "docker" / "daemon.json";
  }
  void TearDown() override { fs::remove_all(file_.parent_path().parent_path()); }
  fs::path file_;
};

TEST_F(DaemonJsonFile, CreatesAndUndoes) {
  EXPECT_FALSE(UnregisterRuntime(file_, kEntry).value());
  EXPECT_TRUE(RegisterRuntime(file_, kEntry).value());
  EXPECT_FALSE(fs::exists(file_.string() + ".bak"));
  EXPECT_FALSE(RegisterRuntime(file_, kEntry).value());
  EXPECT_TRUE(UnregisterRuntime(file_, kEntry).value());
  EXPECT_EQ(ReadSmallFile(file_).value(), "{}\n");
}

TEST_F(DaemonJsonFile, KeepsABackupAndTheMode) {
  fs::create_directories(file_.parent_path());
  std::ofstream(file_) << kBefore;
  fs::permissions(file_, fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_TRUE(RegisterRuntime(file_, kEntry).value());
  EXPECT_EQ(ReadSmallFile(file_.string() + ".bak").value(), kBefore);
  EXPECT_EQ(fs::status(file_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(DaemonJsonFile, InvalidFileStaysAsItIs) {
  fs::create_directories(file_.parent_path());
  std::ofstream(file_) << "{ nonsense";
  const auto result = RegisterRuntime(file_, kEntry);
  EXPECT_THAT(result.error().message, HasSubstr(file_.string()));
  EXPECT_EQ(ReadSmallFile(file_).value(), "{ nonsense");
  EXPECT_FALSE(fs::exists(file_.string() + ".bak"));
}

}  // namespace
}  // namespace migrate
