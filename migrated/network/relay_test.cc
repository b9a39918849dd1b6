// The life of a relay, with real connections: a container goes from host A to B, home to A, to D
// and straight on to B, while its clients talk to A all the time.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "migrated/network/relay_test_fixture.h"

namespace migrate {
namespace {

using testing::kBulk;
using testing::kClient;
using testing::kId;
using testing::kRelayAddress;
using testing::Pair;
using testing::RelayTest;

using testing::DockerHost;
using ::testing::ElementsAre;
using testing::Exchange;
using testing::ExchangeBulk;
using testing::ExchangeUdp;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Lan;
using testing::LocalAddress;
using testing::Netns;
using testing::TakeTcp;
using testing::TcpAccept;
using testing::TcpConnect;
using testing::TcpListen;
using testing::Traffic;
using testing::UdpSocket;

class RelayTrafficTest : public RelayTest, public ::testing::WithParamInterface<Traffic> {
 protected:
  RelayTrafficTest() : RelayTest(GetParam()) {}
};

INSTANTIATE_TEST_SUITE_P(Traffic, RelayTrafficTest,
                         ::testing::Values(Traffic::kIpv4, Traffic::kIpv6Filtered),
                         [](const auto& variant) { return NameOf(variant.param); });

TEST_P(RelayTrafficTest, ConnectionsGoOnWhereverTheContainerIs) {
  Start(a_, "172.17.0.2");
  Pair inbound = Inbound();
  Pair outbound = Outbound(client_, kClient);
  Pair to_host = Outbound(a_.netns, "172.17.0.1");  // a service on A itself
  auto from_host_outside = TcpConnect(a_.netns, Of("172.17.0.2"), 7000);
  Pair from_host{std::move(from_host_outside), TcpAccept(listener_)};
  std::vector<Pair*> pairs{&inbound, &outbound, &to_host, &from_host};
  Pair by_ipv4;
  if (six()) {
    by_ipv4 = Inbound4();
    pairs.push_back(&by_ipv4);
  }
  auto all_alive = [&] {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      EXPECT_TRUE(Exchange(pairs[i]->outside, pairs[i]->inside)) << "connection " << i;
    }
  };
  all_alive();

  Move(b_, "172.17.0.5", pairs);
  all_alive();
  EXPECT_EQ(LocalAddress(inbound.inside), Of("172.17.0.2"));
  EXPECT_TRUE(ExchangeBulk(inbound.outside, inbound.inside, kBulk));
  EXPECT_TRUE(ExchangeBulk(outbound.outside, outbound.inside, kBulk));
  ASSERT_FALSE(HasFailure());
  Pair relayed = Inbound();
  EXPECT_EQ(LocalAddress(relayed.inside), Of(kRelayAddress));
  EXPECT_TRUE(ExchangeBulk(relayed.outside, relayed.inside, kBulk));
  EXPECT_TRUE(AskUdp());
  pairs.push_back(&relayed);

  Move(a_, "172.17.0.7", pairs);  // home, at another address than before
  all_alive();
  EXPECT_TRUE(ExchangeBulk(relayed.outside, relayed.inside, kBulk));
  EXPECT_TRUE(ExchangeBulk(inbound.outside, inbound.inside, kBulk));
  EXPECT_TRUE(AskUdp());
  Pair at_home = Inbound();
  EXPECT_EQ(LocalAddress(at_home.inside), Of("172.17.0.7"));
  EXPECT_TRUE(Exchange(at_home.outside, at_home.inside));
  pairs.push_back(&at_home);

  Move(d_, "172.17.0.2", pairs);  // second departure; an old address is its own here
  all_alive();
  EXPECT_TRUE(ExchangeBulk(at_home.outside, at_home.inside, kBulk));
  Pair relayed_again = Inbound();
  EXPECT_TRUE(Exchange(relayed_again.outside, relayed_again.inside));
  pairs.push_back(&relayed_again);

  Move(b_, "172.17.0.2", pairs);  // from one target to another: the origin is repointed
  all_alive();
  EXPECT_TRUE(ExchangeBulk(relayed_again.outside, relayed_again.inside, kBulk));
  EXPECT_TRUE(AskUdp());
  // The container still reaches the world by its own host.
  client_.Run("ip route add fd00:172:17::/64 via fd00:10:77::2");
  auto world = TcpListen(client_, Of("0.0.0.0"), 9100);
  auto own = TcpConnect(*container_, Of(kClient), 9100);
  EXPECT_EQ(LocalAddress(own), Of("172.17.0.2"));
  EXPECT_TRUE(Exchange(own, TcpAccept(world)));

  StopHere();
  ExpectRemovedAtOrigin();
}

TEST_P(RelayTrafficTest, DataOnTheWayArrives) {
  Start(a_, "172.17.0.2");
  Pair pair = Inbound();
  ASSERT_TRUE(Exchange(pair.outside, pair.inside));
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  // Neither has reached the other end when the connection is taken.
  ASSERT_TRUE(testing::SendText(pair.outside, "to the container"));
  ASSERT_TRUE(testing::SendText(pair.inside, "to the client"));
  Move(b_, "172.17.0.5", {&pair});
  EXPECT_EQ(testing::ReceiveText(pair.inside, 16), "to the container");
  EXPECT_EQ(testing::ReceiveText(pair.outside, 13), "to the client");
  EXPECT_TRUE(Exchange(pair.outside, pair.inside));
}

TEST_P(RelayTrafficTest, SocketsThatWaitAtOneAddress) {
  bound_address_ = Of("172.17.0.2");
  Start(a_, "172.17.0.2");
  Pair first = Inbound(6380);
  EXPECT_TRUE(Exchange(first.outside, first.inside));
  Move(b_, "172.17.0.5", {&first});
  EXPECT_TRUE(Exchange(first.outside, first.inside));
  Pair second = Inbound(6380);
  EXPECT_EQ(LocalAddress(second.inside), Of("172.17.0.2"));
  EXPECT_TRUE(ExchangeBulk(second.outside, second.inside, kBulk));
  Move(d_, "172.17.0.9", {&first, &second});
  EXPECT_TRUE(Exchange(first.outside, first.inside));
  EXPECT_TRUE(Exchange(second.outside, second.inside));
  StopHere();
  ExpectRemovedAtOrigin();
}

TEST_P(RelayTrafficTest, RealChecksumsWithoutOffload) {
  for (const auto* netns : {&client_, &a_.netns, &b_.netns}) {
    netns->DisableOffloads("eth0");
  }
  Start(a_, "172.17.0.2");
  Pair inbound = Inbound();
  Pair outbound = Outbound(client_, kClient);
  Move(b_, "172.17.0.5", {&inbound, &outbound});
  container_->DisableOffloads("mg01234567");
  Pair relayed = Inbound();
  for (auto* pair : {&inbound, &outbound, &relayed}) {
    EXPECT_TRUE(ExchangeBulk(pair->outside, pair->inside, kBulk));
  }
  EXPECT_TRUE(AskUdp());
}

TEST_P(RelayTrafficTest, AbortGivesTheConnectionsBack) {
  Start(a_, "172.17.0.2");
  Pair inbound = Inbound();
  Pair outbound = Outbound(client_, kClient);
  auto running = a_.Snapshot();
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  SetUpAtOrigin(Origin(b_));
  auto moves = PlanMoves();
  EXPECT_EQ(moves.size(), 2U);
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, moves)));
  ASSERT_TRUE(testing::SendText(inbound.outside, "lost in the tunnel"));
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, ReverseConntrackMoves(moves))));
  ASSERT_TRUE(IsOk(RemoveOrigin(a_.netns, kId)));
  EXPECT_EQ(a_.Snapshot(), running);
  ASSERT_TRUE(IsOk(UnlockNetns(*container_)));
  EXPECT_EQ(testing::ReceiveText(inbound.inside, 18), "lost in the tunnel");
  EXPECT_TRUE(Exchange(inbound.outside, inbound.inside));
  EXPECT_TRUE(Exchange(outbound.outside, outbound.inside));
}

TEST_F(RelayTest, PacketsDuringTheMoveOfEntriesCauseNoReset) {
  Start(a_, "172.17.0.2");
  Pair outbound = Outbound(client_, kClient);
  auto moves = PlanConntrackMoves(*ListConntrack(a_.netns), {address_}, kRelayAddress);
  ASSERT_EQ(moves.size(), 1U);
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  ASSERT_TRUE(IsOk(SetUpOrigin(a_.netns, Origin(b_))));
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, moves)));
  testing::AckFlood flood(client_, outbound.outside);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, ReverseConntrackMoves(moves))));
    EXPECT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, moves)));
  }
  EXPECT_GT(flood.sent(), 100);
  EXPECT_EQ(flood.CountResets(), 0);
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, ReverseConntrackMoves(moves))));
  ASSERT_TRUE(IsOk(RemoveOrigin(a_.netns, kId)));
  ASSERT_TRUE(IsOk(UnlockNetns(*container_)));
  EXPECT_TRUE(testing::SendText(outbound.inside, "alive"));
  EXPECT_EQ(testing::ReceiveText(outbound.outside, 5), "alive");
}

TEST_F(RelayTest, TwoRelaysInOneContainer) {
  constexpr char kOtherId[] = "fedcba9876543210";
  ContainerSide one;
  one.relay = relay_;
  one.local_address = b_.address;
  one.remote_address = a_.address;
  one.old_addresses = {"172.17.0.2"};
  ContainerSide two = one;
  two.relay = MakeRelaySpec(kOtherId, "198.18.7.2");
  two.remote_address = d_.address;
  auto container = b_.StartContainer("172.17.0.4");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *container, one)));
    auto next = b_.StartContainer("172.17.0.5");
    // The device of the namespace that is just ending still has the VNI.
    container = std::move(next);
  }
  ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *container, one)));
  ASSERT_TRUE(IsOk(RemoveContainerSide(*container, kId)));
  ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *container, two)));
  auto only_two = DockerHost::SnapshotOf(*container);
  ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *container, one)));
  EXPECT_EQ(FindRelays(*container)->relay_ids.size(), 2U);
  EXPECT_TRUE(IsOk(RemoveContainerSide(*container, kId)));
  EXPECT_EQ(DockerHost::SnapshotOf(*container), only_two);
  EXPECT_THAT(FindRelays(*container)->relay_ids, ElementsAre(kOtherId));
}

TEST_F(RelayTest, ContainerSideIsRemovedWithoutTrace) {
  auto container = b_.StartContainer("172.17.0.5");
  auto clean = DockerHost::SnapshotOf(*container);
  auto host_clean = b_.Snapshot();
  ContainerSide side;
  side.relay = relay_;
  side.local_address = b_.address;
  side.remote_address = a_.address;
  side.old_addresses = {"172.17.0.2", "172.17.0.5"};
  side.connections = {{Protocol::kTcp, "172.17.0.2", 7000, kClient, 4000}};
  side.bound = {{Protocol::kTcp, "172.17.0.2", 7001}};
  for (bool home : {false, true}) {
    side.home_interface = home ? "eth0" : "";
    for (int repeat = 0; repeat < 2; ++repeat) {
      ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *container, side)));
    }
    auto found = FindRelays(*container);
    EXPECT_THAT(found->relay_ids, ElementsAre(kId));
    EXPECT_THAT(found->addresses, ElementsAre(kRelayAddress));
    EXPECT_THAT(found->links, home ? ::testing::Matcher<std::vector<std::string>>(IsEmpty())
                                   : ElementsAre("mg01234567"));
    // An address of its own is not added a second time.
    auto addresses = container->Run("ip -o -4 addr");
    EXPECT_THAT(addresses, HasSubstr("172.17.0.2/32"));
    EXPECT_THAT(addresses, ::testing::Not(HasSubstr("172.17.0.5/32")));
    EXPECT_EQ(b_.Snapshot(), host_clean);
    for (int repeat = 0; repeat < 2; ++repeat) {
      EXPECT_TRUE(IsOk(RemoveContainerSide(*container, kId)));
    }
    EXPECT_EQ(DockerHost::SnapshotOf(*container), clean);
    EXPECT_TRUE(FindRelays(*container)->empty());
  }
}

TEST_F(RelayTest, OldAddressesAreNotClaimedFromNeighbours) {
  auto neighbour = b_.StartContainer("172.17.0.2");
  auto container = b_.StartContainer("172.17.0.5");
  ContainerSide side;
  side.relay = relay_;
  side.local_address = b_.address;
  side.remote_address = a_.address;
  side.old_addresses = {"172.17.0.2"};
  side.connections = {{Protocol::kTcp, "172.17.0.2", 7000, kClient, 4000}};
  ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *container, side)));
  auto listener = TcpListen(*neighbour, "0.0.0.0", 80);
  auto third = b_.StartContainer("172.17.0.6");
  for (int i = 0; i < 5; ++i) {
    b_.netns.Run("ip neigh flush dev docker0");
    third->Run("ip neigh flush dev eth0");
    EXPECT_TRUE(TcpConnect(*third, "172.17.0.2", 80));
    EXPECT_TRUE(TcpConnect(b_.netns, "172.17.0.2", 80));
    EXPECT_THAT(b_.netns.Run("ip neigh show 172.17.0.2"), HasSubstr(neighbour->Mac("eth0")));
  }
}

TEST_F(RelayTest, OriginRepeatsAndRepoints) {
  for (int repeat = 0; repeat < 2; ++repeat) {
    ASSERT_TRUE(IsOk(SetUpOrigin(a_.netns, Origin(b_))));
  }
  auto device = [&] { return a_.netns.Run("ip -d link show mg01234567"); };
  EXPECT_THAT(device(), HasSubstr("remote 10.77.0.2 "));
  // Docker has to be able to read the chain with our rules in it.
  EXPECT_THAT(a_.netns.Run("iptables -S DOCKER-USER"),
              HasSubstr("-A DOCKER-USER -i mg01234567 -j ACCEPT\n"
                        "-A DOCKER-USER -o mg01234567 -j ACCEPT\n-A DOCKER-USER -j RETURN"));
  ASSERT_TRUE(IsOk(SetUpOrigin(a_.netns, Origin(d_))));
  EXPECT_THAT(device(), HasSubstr("remote 10.77.0.3 "));
  auto found = FindRelays(a_.netns);
  EXPECT_THAT(found->relay_ids, ElementsAre(kId));
  EXPECT_THAT(found->links, ElementsAre("mg01234567"));
  EXPECT_THAT(found->addresses, ElementsAre(kRelayAddress));
  auto chosen = ChooseRelayAddress(a_.netns, kId, "198.18.7.0/30");
  EXPECT_EQ(*chosen, "198.18.7.2");  // .1 is taken
  ExpectRemovedAtOrigin();
}

TEST_F(RelayTest, OnlyPublishedPortsAreReached) {
  Start(a_, "172.17.0.2");
  Move(b_, "172.17.0.5", {});
  auto hidden = TcpListen(*container_, "0.0.0.0", 7999);
  client_.Run("ip route add 198.18.7.1 via 10.77.0.1");
  EXPECT_EQ(client_.ExitCode("timeout 1 bash -c '</dev/tcp/198.18.7.1/7999'"), 124);
  // A stranger's tunnel packets are refused at the origin.
  EXPECT_THAT(a_.netns.Run("nft list chain ip migrate_0123456789abcdef tunnel"),
              HasSubstr("ip saddr != 10.77.0.2 drop"));
}

TEST_F(RelayTest, RefusesWhatCannotWork) {
  auto side = Origin(b_);
  side.remote_address = "10.77.0.2; flush ruleset";
  EXPECT_EQ(SetUpOrigin(a_.netns, side).error().code, ErrorCode::kInvalidArgument);
  side = Origin(b_);
  side.relay.id = "short";
  EXPECT_EQ(SetUpOrigin(a_.netns, side).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(IsOk(CheckOrigin(a_.netns)));
  a_.netns.Run("echo 0 > /proc/sys/net/ipv4/ip_forward");
  EXPECT_EQ(SetUpOrigin(a_.netns, Origin(b_)).error().reason, "IP_FORWARD_OFF");
  a_.netns.Run(
      "echo 1 > /proc/sys/net/ipv4/ip_forward; iptables -D FORWARD -j DOCKER-USER;"
      "iptables -F DOCKER-USER; iptables -X DOCKER-USER");
  EXPECT_EQ(CheckOrigin(a_.netns).error().reason, "FIREWALL_DROPS");
  a_.netns.Run("iptables -P FORWARD ACCEPT");
  EXPECT_TRUE(IsOk(CheckOrigin(a_.netns)));
  if (a_.netns.ExitCode("iptables-legacy -P FORWARD DROP") == 0) {
    EXPECT_EQ(CheckOrigin(a_.netns).error().reason, "FIREWALL_LEGACY");
    a_.netns.Run("iptables-legacy -P FORWARD ACCEPT");
    EXPECT_TRUE(IsOk(CheckOrigin(a_.netns)));
  }
}

}  // namespace
}  // namespace migrate
