#include "recorder/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kId(64, 'a');

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "checkpoint_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  void Script(const fs::path& name, std::string_view body) {
    std::ofstream(dir_ / name) << "#!/bin/sh\n" << body;
    fs::permissions(dir_ / name, fs::perms::owner_all);
  }

  fs::path dir_;
};

TEST_F(CheckpointTest, FindsTheRuncRoot) {
  const fs::path state = dir_ / "runtime-runc" / "moby" / kId;
  fs::create_directories(state);
  EXPECT_EQ(FindRuncRoot(dir_, kId).error().code, ErrorCode::kNotFound);
  std::ofstream(state / "state.json") << "{}";
  EXPECT_EQ(FindRuncRoot(dir_, kId).value(), dir_ / "runtime-runc" / "moby");
}

TEST_F(CheckpointTest, RefusesNonsense) {
  CheckpointOptions options{
      .container_id = "../x", .image_dir = "/i", .work_dir = "/w", .criu_path = {}};
  EXPECT_EQ(Checkpoint(options).error().code, ErrorCode::kInvalidArgument);
  options.container_id = kId;
  options.image_dir = "relative";
  EXPECT_EQ(Checkpoint(options).error().code, ErrorCode::kInvalidArgument);
  options.image_dir = dir_ / "image";
  options.criu_config_extra = {"a\nb"};
  EXPECT_EQ(Checkpoint(options).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(CheckpointTest, ProbeReadsTheVersion) {
  Script("criu", "[ \"$1\" = check ] || echo 'Version: 4.2.1 (gitid 0)'\n");
  const auto info = ProbeCriu(dir_);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->version, "4.2.1");
  EXPECT_EQ(info->major, 4);
  EXPECT_EQ(info->minor, 2);
}

TEST_F(CheckpointTest, ProbeSaysWhyItDoesNotWork) {
  EXPECT_EQ(ProbeCriu(dir_).error().reason, "CRIU_UNUSABLE");
  Script("criu",
         "[ \"$1\" = check ] || { echo 'Version: 3.17'; exit 0; }\n"
         "echo '(00.01) Error (criu/vdso.c:12): vdso: out of bounds' >&2; exit 1\n");
  const auto info = ProbeCriu(dir_ / "criu");
  ASSERT_FALSE(info);
  EXPECT_THAT(info.error().message, HasSubstr("3.17"));
  EXPECT_THAT(info.error().message, HasSubstr("vdso: out of bounds"));
}

}  // namespace
}  // namespace migrate
