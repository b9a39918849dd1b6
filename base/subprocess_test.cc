#include "base/subprocess.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;

TEST(Subprocess, CapturesBothStreamsAndTheExitCode) {
  auto outcome = RunSubprocess({.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->exit_code, 3);
  EXPECT_EQ(outcome->stdout_text, "out\n");
  EXPECT_EQ(outcome->stderr_text, "err\n");
}

TEST(Subprocess, EnvironmentIsAdded) {
  auto outcome =
      RunSubprocess({.argv = {"sh", "-c", "echo $MIGRATE_X"}, .env = {{"MIGRATE_X", "7"}}});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->stdout_text, "7\n");
}

TEST(Subprocess, KillsTheProcessGroupAtTheTimeout) {
  auto outcome = RunSubprocess({.argv = {"sh", "-c", "sleep 60 & wait"}, .timeout = 100ms});
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->timed_out);
  EXPECT_FALSE(outcome->ok());
}

TEST(Subprocess, MissingProgramIsNamed) {
  auto outcome = RunSubprocess({.argv = {"no-such-program-x"}});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::kNotFound);
  EXPECT_NE(outcome.error().message.find("no-such-program-x"), std::string::npos);
}

TEST(Subprocess, OutputIsBounded) {
  auto outcome = RunSubprocess({.argv = {"sh", "-c", "head -c 3000000 /dev/zero"}});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->stdout_text.size(), limits::kSubprocessMaxOutputBytes);
}

}  // namespace
}  // namespace migrate
