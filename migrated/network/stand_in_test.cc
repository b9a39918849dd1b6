// A host that stands in for a container on its bridge, as the neighbours there see it.

#include "migrated/network/stand_in.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "migrated/network/netlock.h"
#include "migrated/network/test_world.h"

namespace migrate {
namespace {

using testing::DockerHost;
using ::testing::ElementsAre;
using testing::Exchange;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Lan;
using testing::Netns;
using testing::Ping;
using testing::Reaches;
using testing::TcpAccept;
using testing::TcpConnect;
using testing::TcpListen;
using ::testing::UnorderedElementsAre;

constexpr char kId[] = "0123456789abcdef";
constexpr char kAddress[] = "172.17.0.2";
constexpr char kBridgeMac[] = "02:42:00:00:00:01";

class StandInTest : public ::testing::TestWithParam<bool> {
 protected:
  StandInTest() {
    host_.TrackBridged(GetParam());
    neighbour_ = host_.StartContainer("172.17.0.3");
    container_ = host_.StartContainer(kAddress);
    listener_ = TcpListen(*container_, "0.0.0.0", 80);
    before_ = host_.Snapshot();
  }

  Lan lan_;
  DockerHost host_{lan_, "10.77.0.1"};
  std::unique_ptr<Netns> neighbour_;
  std::unique_ptr<Netns> container_;
  OwnedFd listener_;
  std::string before_;
  const StandIn stand_in_{kId, kAddress, "docker0"};
};

INSTANTIATE_TEST_SUITE_P(BridgedPackets, StandInTest, ::testing::Bool(), [](const auto& variant) {
  return variant.param ? "Tracked" : "Untracked";
});

TEST_P(StandInTest, NeighboursFollowAtOnceAndBack) {
  auto outside = TcpConnect(*neighbour_, kAddress, 80);
  auto inside = TcpAccept(listener_);
  ASSERT_TRUE(Exchange(outside, inside));
  const auto container_mac = container_->Mac("eth0");
  ASSERT_EQ(neighbour_->Believes(kAddress), container_mac);
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  for (int repeat = 0; repeat < 2; ++repeat) {
    ASSERT_TRUE(IsOk(TakeAddress(host_.netns, stand_in_)));
    EXPECT_EQ(neighbour_->Believes(kAddress), kBridgeMac);
  }
  EXPECT_THAT(*FindStandIns(host_.netns), ElementsAre(stand_in_));
  // The host has no socket for it, and is silent all the same.
  EXPECT_TRUE(testing::SendText(outside, "to be delivered later"));
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_TRUE(IsOk(UnlockNetns(*container_)));
    EXPECT_TRUE(IsOk(GiveBackAddress(host_.netns, stand_in_, container_mac)));
    EXPECT_EQ(neighbour_->Believes(kAddress), container_mac);
  }
  EXPECT_EQ(testing::ReceiveText(inside, 21), "to be delivered later");
  EXPECT_TRUE(Exchange(outside, inside));
  EXPECT_EQ(host_.Snapshot(), before_);
  EXPECT_THAT(*FindStandIns(host_.netns), IsEmpty());
}

TEST_P(StandInTest, TheHostItselfDoesNotAnswer) {
  auto host_service = TcpListen(host_.netns, "0.0.0.0", 22);
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  ASSERT_TRUE(IsOk(TakeAddress(host_.netns, stand_in_)));
  for (const char* port : {"22", "23"}) {  // 124: no answer, not even a refusal
    EXPECT_EQ(
        neighbour_->ExitCode(std::string("timeout 1 bash -c '</dev/tcp/172.17.0.2/") + port + "'"),
        124);
  }
  EXPECT_FALSE(Ping(*neighbour_, kAddress));
  EXPECT_TRUE(Reaches(*neighbour_, "172.17.0.1", 22));
  EXPECT_TRUE(Ping(*neighbour_, "172.17.0.1"));
}

TEST_P(StandInTest, ALockedContainerDoesNotAnswerArp) {
  for (bool locked : {true, false}) {
    ASSERT_TRUE(IsOk(locked ? LockNetns(*container_) : UnlockNetns(*container_)));
    EXPECT_EQ(*IsLocked(*container_), locked);
    neighbour_->Run("ip neigh flush dev eth0");
    EXPECT_EQ(Reaches(*neighbour_, kAddress, 80), !locked);
    EXPECT_EQ(neighbour_->Believes(kAddress), locked ? "" : container_->Mac("eth0"));
  }
  EXPECT_EQ(container_->Run("nft list ruleset"), "");
  // Who asked in vain does not ask again for a second, unless told.
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  neighbour_->Run("ip neigh flush dev eth0");
  EXPECT_FALSE(Ping(*neighbour_, kAddress));
  ASSERT_TRUE(IsOk(UnlockNetns(*container_)));
  ASSERT_TRUE(IsOk(AnnounceOwnAddresses(*container_)));
  EXPECT_EQ(neighbour_->Believes(kAddress), container_->Mac("eth0"));
}

TEST_P(StandInTest, SeveralAreKeptApart) {
  host_.netns.Run(
      "ip link add br-1 type bridge; ip addr add 172.18.0.1/16 dev br-1;"
      "ip link set br-1 up");
  const StandIn other{kId, "172.18.0.2", "br-1"};
  const StandIn of_other_relay{"fedcba9876543210", "172.17.0.9", "docker0"};
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  ASSERT_TRUE(IsOk(TakeAddress(host_.netns, of_other_relay)));
  const auto one = host_.Snapshot();
  ASSERT_TRUE(IsOk(KeepStandIns(host_.netns, kId, {stand_in_, other})));
  EXPECT_THAT(*FindStandIns(host_.netns), UnorderedElementsAre(stand_in_, other, of_other_relay));
  EXPECT_THAT(host_.netns.Run("ip -o -4 addr show dev br-1"), HasSubstr("172.18.0.2/32"));
  ASSERT_TRUE(IsOk(KeepStandIns(host_.netns, kId, {other})));
  EXPECT_THAT(*FindStandIns(host_.netns), UnorderedElementsAre(other, of_other_relay));
  EXPECT_THAT(host_.netns.Run("ip -o -4 addr"), ::testing::Not(HasSubstr("172.17.0.2/32")));
  // The bridge may be gone before.
  host_.netns.Run("ip link del br-1");
  EXPECT_THAT(*FindStandIns(host_.netns), UnorderedElementsAre(other, of_other_relay));
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_TRUE(IsOk(RemoveStandIns(host_.netns, kId)));
  }
  EXPECT_THAT(*FindStandIns(host_.netns), ElementsAre(of_other_relay));
  EXPECT_NE(one, before_);
  EXPECT_TRUE(IsOk(RemoveStandIn(host_.netns, of_other_relay.id, of_other_relay.address)));
  EXPECT_EQ(host_.Snapshot(), before_);
}

TEST_P(StandInTest, RefusesWhatCannotWork) {
  EXPECT_EQ(TakeAddress(host_.netns, {kId, kAddress, "br-absent"}).error().code,
            ErrorCode::kNotFound);
  EXPECT_EQ(TakeAddress(host_.netns, {"x", kAddress, "docker0"}).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(TakeAddress(host_.netns, {kId, "172.17.0.2 }", "docker0"}).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(TakeAddress(host_.netns, {kId, kAddress, "docker0\" }"}).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(KeepStandIns(host_.netns, "fedcba9876543210", {stand_in_}).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(host_.Snapshot(), before_);
  // An address that Docker itself put there is no stand-in.
  EXPECT_TRUE(IsOk(RemoveStandIn(host_.netns, kId, "172.17.0.1")));
  EXPECT_EQ(host_.Snapshot(), before_);
}

}  // namespace
}  // namespace migrate
