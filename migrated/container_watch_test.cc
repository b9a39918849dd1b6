#include "migrated/container_watch.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

DockerEvent Event(const std::string& action, StringMap attributes = {}) {
  return {"container", action, "c1", std::move(attributes), 0};
}

std::string ReasonOf(const DockerEvent& event, bool frozen = false) {
  const auto found = JudgeEvent(event, {"c1", "web1", /*stop_signal=*/3, frozen});
  return found ? found->reason : "";
}

TEST(JudgeEvent, NamesWhatSomebodyDid) {
  EXPECT_EQ(ReasonOf(Event("kill", {{"signal", "15"}})), "CONTAINER_STOPPED");
  EXPECT_EQ(ReasonOf(Event("kill", {{"signal", "9"}})), "CONTAINER_STOPPED");
  EXPECT_EQ(ReasonOf(Event("die", {{"exitCode", "3"}})), "CONTAINER_ENDED");
  EXPECT_EQ(ReasonOf(Event("destroy")), "CONTAINER_REMOVED");
  EXPECT_EQ(ReasonOf(Event("pause")), "CONTAINER_PAUSED");
  EXPECT_EQ(ReasonOf(Event("update")), "CONTAINER_CHANGED");
  const auto renamed =
      JudgeEvent(Event("rename", {{"name", "web2"}, {"oldName", "/web1"}}), {"c1", "web1"});
  ASSERT_TRUE(renamed);
  EXPECT_EQ(renamed->reason, "CONTAINER_RENAMED");
  EXPECT_EQ(renamed->text, "container web1 was renamed to web2 by somebody (docker rename)");
}

TEST(JudgeEvent, ItsOwnStopSignalStopsIt) {
  EXPECT_EQ(ReasonOf(Event("kill", {{"signal", "3"}})), "CONTAINER_STOPPED");
  EXPECT_EQ(ReasonOf(Event("kill", {{"signal", "2"}})), "");
}

TEST(JudgeEvent, AnySignalToAFrozenContainerCounts) {
  EXPECT_EQ(ReasonOf(Event("kill", {{"signal", "1"}})), "");
  EXPECT_EQ(ReasonOf(Event("kill", {{"signal", "1"}}), /*frozen=*/true), "CONTAINER_SIGNALLED");
}

TEST(JudgeEvent, WhatDoesNotMatterDoesNot) {
  for (const char* action : {"exec_create: sh", "exec_start: sh", "exec_die", "top", "attach",
                             "resize", "health_status: healthy", "start"}) {
    EXPECT_EQ(ReasonOf(Event(action)), "") << action;
  }
  DockerEvent other = Event("die");
  other.actor_id = "c2";
  EXPECT_EQ(ReasonOf(other), "");
  other.type = "network";
  EXPECT_EQ(ReasonOf(other), "");
}

TEST(JudgeEvent, ItsNetworksCount) {
  const DockerEvent event{
      "network", "disconnect", "n1", {{"container", "c1"}, {"name", "net1"}}, 0};
  const auto found = JudgeEvent(event, {"c1", "web1"});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->reason, "CONTAINER_CHANGED");
  EXPECT_EQ(found->text, "container web1 was disconnected from network net1 by somebody");
  EXPECT_FALSE(JudgeEvent(event, {"c2", "web2"}));
}

TEST(JudgeReplicaEvent, UntilItIsRestoredNobodyElseMayTouchIt) {
  const auto reason = [](const DockerEvent& event, bool restoring) {
    const auto found = JudgeReplicaEvent(event, "c1", "web1", restoring);
    return found ? found->reason : std::string();
  };
  EXPECT_EQ(reason(Event("destroy"), false), "REPLICA_REMOVED");
  EXPECT_EQ(reason(Event("start"), false), "REPLICA_STARTED");
  EXPECT_EQ(reason(Event("start"), true), "") << "that is us";
  EXPECT_EQ(reason(Event("destroy"), true), "REPLICA_REMOVED");
  EXPECT_EQ(reason(Event("rename", {{"name", "x"}}), false), "REPLICA_RENAMED");
  EXPECT_EQ(reason(Event("rename", {{"name", "web1"}}), false), "") << "our own, after the create";
  EXPECT_EQ(reason(Event("create"), false), "");
  EXPECT_EQ(reason(Event("die"), true), "") << "a restore that fails tells its own cause";
}

TEST(SignalNumber, ReadsWhatImagesHave) {
  EXPECT_EQ(SignalNumber("SIGQUIT"), 3);
  EXPECT_EQ(SignalNumber("INT"), 2);
  EXPECT_EQ(SignalNumber("10"), 10);
  EXPECT_EQ(SignalNumber(""), 15);
  EXPECT_EQ(SignalNumber("SIGNONSENSE"), 15);
}

}  // namespace
}  // namespace migrate
