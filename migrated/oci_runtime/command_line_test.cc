#include "migrated/oci_runtime/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace migrate {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CommandLine, AsContainerdsShimWritesIt) {
  const CommandLine line =
      ParseCommandLine({"--state-dir=/s", "--root", "/r", "--log", "/b/log.json", "--log-format",
                        "json", "--systemd-cgroup", "create", "--bundle", "/b", "--pid-file",
                        "/b/init.pid", "--console-socket", "/c", "--no-pivot", "abc"});
  EXPECT_EQ(line.state_dir, "/s");
  EXPECT_EQ(line.command, "create");
  EXPECT_THAT(line.global, ElementsAre("--root", "/r", "--log", "/b/log.json", "--log-format",
                                       "json", "--systemd-cgroup"));
  EXPECT_EQ(line.log, "/b/log.json");
  EXPECT_TRUE(line.log_json);
  EXPECT_EQ(line.bundle, "/b");
  EXPECT_EQ(line.pid_file, "/b/init.pid");
  EXPECT_EQ(line.console_socket, "/c");
  EXPECT_TRUE(line.no_pivot);
  EXPECT_EQ(line.id, "abc");
  EXPECT_EQ(line.passed_on.size(), 16u);
  EXPECT_EQ(line.passed_on.front(), "--root");
}

TEST(CommandLine, EqualsSignsAndSingleDashes) {
  const CommandLine line = ParseCommandLine({"-root=/r", "--runc", "/usr/bin/runc", "-log", "/l",
                                             "create", "-b=/x", "--preserve-fds", "3", "id1"});
  EXPECT_EQ(line.runc, "/usr/bin/runc");
  EXPECT_THAT(line.global, ElementsAre("-root=/r", "-log", "/l"));
  EXPECT_EQ(line.bundle, "/x");
  EXPECT_EQ(line.id, "id1");
  EXPECT_FALSE(line.log_json);
}

TEST(CommandLine, DeleteForce) {
  const CommandLine line = ParseCommandLine({"--root", "/r", "delete", "--force", "id1"});
  EXPECT_EQ(line.command, "delete");
  EXPECT_EQ(line.id, "id1");
  EXPECT_THAT(line.passed_on, ElementsAre("--root", "/r", "delete", "--force", "id1"));
}

TEST(CommandLine, OwnOptionNamesAfterTheCommandAreNotOurs) {
  const CommandLine line = ParseCommandLine({"exec", "id1", "prog", "--state-dir=/x"});
  EXPECT_EQ(line.state_dir, kDefaultRuntimeStateDir);
  EXPECT_THAT(line.passed_on, ElementsAre("exec", "id1", "prog", "--state-dir=/x"));
}

TEST(CommandLine, NoCommand) {
  const CommandLine line = ParseCommandLine({"--version"});
  EXPECT_THAT(line.command, IsEmpty());
  EXPECT_THAT(line.passed_on, ElementsAre("--version"));
  EXPECT_THAT(ParseCommandLine({}).passed_on, IsEmpty());
  EXPECT_THAT(ParseCommandLine({"--root"}).passed_on, ElementsAre("--root"));
}

}  // namespace
}  // namespace migrate
