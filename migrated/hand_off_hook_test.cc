#include "migrated/hand_off_hook.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/file_util.h"

namespace migrate {
namespace {

class HandOffHookTest : public testing::Test {
 protected:
  HandOffHookTest() {
    std::string name = testing::TempDir() + "/hook-XXXXXX";
    directory_ = mkdtemp(name.data());
    config_.node_name = "hostA";
    record_.set_final_name("web1");
    record_.mutable_migration()->set_id("0123456789abcdef");
    record_.mutable_migration()->set_peer("hostB:7070");
    v1::Relay* relay = record_.mutable_lineage()->add_relays();
    relay->set_origin_node("hostA");
    relay->add_old_addresses("172.17.0.2");
    v1::PublishedPort* port = relay->add_ports();
    port->set_protocol("tcp");
    port->set_host_port(8080);
    port->set_container_port(80);
    relay->add_connections();
  }
  ~HandOffHookTest() override { std::filesystem::remove_all(directory_); }

  void WriteHook(const std::string& body) {
    config_.hand_off_hook = directory_ + "/hook";
    std::ofstream(config_.hand_off_hook) << "#!/bin/sh\n" << body;
    chmod(config_.hand_off_hook.c_str(), 0700);
  }

  std::string directory_;
  Config config_;
  v1::MigrationRecord record_;
};

TEST_F(HandOffHookTest, IsToldTheFacts) {
  WriteHook(
      "echo \"$1 $MIGRATE_CONTAINER $MIGRATE_TARGET $MIGRATE_PORTS $MIGRATE_OLD_ADDRESSES "
      "$MIGRATE_CONNECTIONS\" > " +
      directory_ + "/out\n");
  ASSERT_TRUE(RunHandOffHook(config_, record_));
  EXPECT_EQ(*ReadSmallFile(directory_ + "/out"),
            "hand-off web1 hostB:7070 tcp:*:8080:80 172.17.0.2 1\n");
}

TEST_F(HandOffHookTest, IsTriedAgain) {
  WriteHook("test -e " + directory_ + "/second || { touch " + directory_ + "/second; exit 1; }\n");
  EXPECT_TRUE(RunHandOffHook(config_, record_));
}

TEST_F(HandOffHookTest, AFailureSaysWhatItSaid) {
  WriteHook("echo no such pool >&2; exit 3\n");
  const Result<> done = RunHandOffHook(config_, record_);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("exit code 3: no such pool"), std::string::npos);
}

TEST_F(HandOffHookTest, NoneConfiguredIsNamedBeforeTheMove) {
  EXPECT_EQ(CheckHandOffHook(config_).error().reason, "NO_HOOK");
  config_.hand_off_hook = directory_ + "/missing";
  EXPECT_FALSE(CheckHandOffHook(config_));
  WriteHook("exit 0\n");
  EXPECT_TRUE(CheckHandOffHook(config_));
}

}  // namespace
}  // namespace migrate
