// Who reaches a container through the host that it left, other than by a published port from
// outside: programs of that host, those who use the container's own address, and its neighbours.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <tuple>

#include "migrated/network/relay_test_fixture.h"

namespace migrate {
namespace {

using testing::DockerHost;
using testing::Exchange;
using testing::ExchangeBulk;
using testing::ExchangeUdp;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::kBulk;
using testing::kClient;
using testing::kId;
using testing::kRelayAddress;
using testing::LocalAddress;
using testing::Netns;
using testing::Pair;
using testing::PeerAddress;
using testing::Ping;
using testing::Reaches;
using testing::TcpAccept;
using testing::TcpConnect;
using testing::TcpListen;
using testing::Traffic;
using testing::UdpSocket;

constexpr char kOld[] = "172.17.0.2";
constexpr char kNeighbour[] = "172.17.0.3";

class ReachTest : public testing::RelayTest {
 protected:
  explicit ReachTest(Traffic traffic = Traffic::kIpv4) : RelayTest(traffic) {}

  Pair Open(const Netns& from, const std::string& address, int port = 7000) {
    auto outside = TcpConnect(from, Of(address), port);
    EXPECT_TRUE(outside) << address;
    if (!outside) {
      return {};
    }
    return {std::move(outside), TcpAccept(listener_)};
  }

  // The container speaks first: the other's packets alone would make new entries.
  static void ExpectAlive(const std::vector<Pair*>& pairs, bool bulk = false) {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      EXPECT_TRUE(Exchange(pairs[i]->inside, pairs[i]->outside)) << "connection " << i;
      if (bulk) {
        EXPECT_TRUE(ExchangeBulk(pairs[i]->outside, pairs[i]->inside, kBulk)) << "connection " << i;
      }
    }
  }
};

class ReachTrafficTest : public ReachTest, public ::testing::WithParamInterface<Traffic> {
 protected:
  ReachTrafficTest() : ReachTest(GetParam()) {}
};

INSTANTIATE_TEST_SUITE_P(Traffic, ReachTrafficTest,
                         ::testing::Values(Traffic::kIpv4, Traffic::kIpv6, Traffic::kIpv6Filtered),
                         [](const auto& variant) { return NameOf(variant.param); });

TEST_P(ReachTrafficTest, LoopbackOfTheOldHost) {
  // With it IPv6 ends at home, see below.
  a_.TrackBridged(!six());
  Start(a_, kOld);
  Move(b_, "172.17.0.5", {});
  Pair first = Open(a_.netns, "127.0.0.1", 6379);
  Pair second = Open(a_.netns, "127.8.8.8", 6379);
  EXPECT_EQ(PeerAddress(first.outside), Of("127.0.0.1"));
  if (!six()) {
    EXPECT_EQ(PeerAddress(first.inside), a_.address);
  }
  ExpectAlive({&first, &second}, /*bulk=*/true);
  EXPECT_TRUE(ExchangeUdp(UdpSocket(a_.netns, Of("0.0.0.0"), 0), Of("127.0.0.1"), 5300, udp_));
  // Published at another address only, and not at all.
  EXPECT_FALSE(Reaches(a_.netns, Of("127.0.0.1"), 6380));
  EXPECT_FALSE(Reaches(a_.netns, Of("127.0.0.1"), 7000));
  Move(d_, "172.17.0.2", {&first, &second});
  ExpectAlive({&first, &second}, /*bulk=*/true);

  auto secret = TcpListen(a_.netns, Of("127.0.0.1"), 25);
  for (const char* home : {"172.17.0.2", "172.17.0.7"}) {
    Move(a_, home, {&first, &second});
    ExpectAlive({&first, &second}, /*bulk=*/true);
    ASSERT_FALSE(HasFailure());
    // Only for them: no container gets to what listens there.
    container_->Run(
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet;"
        "ip rule add pref 1 to 127.0.0.1 lookup 99; ip rule add pref 2 lookup local;"
        "ip rule del pref 0; ip route add default via 172.17.0.1 table 99;"
        "ip -6 rule add pref 1 to ::1 lookup 99; ip -6 rule add pref 2 lookup local;"
        "ip -6 rule del pref 0; ip -6 route add default via fd00:172:17::1 table 99");
    EXPECT_FALSE(Reaches(*container_, Of("127.0.0.1"), 25));
    Move(b_, "172.17.0.5", {&first, &second});
    ExpectAlive({&first, &second}, /*bulk=*/true);
  }
  EXPECT_EQ(a_.netns.Run("cd /proc/sys/net/ipv4/conf; cat all/route_localnet eth0/route_localnet "
                         "docker0/route_localnet"),
            "0\n0\n0\n");
  StopHere();
  ExpectRemovedAtOrigin();
}

// Where connection tracking sees what bridges pass on they cannot go on at home. They end, for both
// ends to see; those of IPv4, and of others, do not.
TEST_P(ReachTrafficTest, LoopbackOfTheOldHostOnTrackedBridges) {
  a_.TrackBridged(true);
  Start(a_, kOld);
  Move(b_, "172.17.0.5", {});
  Pair loopback = Open(a_.netns, "127.0.0.1", 6379);
  Pair outside = Inbound();
  ExpectAlive({&loopback, &outside}, /*bulk=*/true);
  Move(d_, "172.17.0.5", {&loopback, &outside});
  ExpectAlive({&loopback, &outside}, /*bulk=*/true);
  ends_at_home_ = six();
  Move(a_, "172.17.0.7", {&loopback, &outside});
  ExpectAlive({&outside}, /*bulk=*/true);
  if (!six()) {
    ExpectAlive({&loopback}, /*bulk=*/true);
  } else {
    EXPECT_FALSE(testing::SendText(loopback.outside, "ended"));
    (void)testing::SendText(loopback.inside, "it hears of the end by now at the latest");
    char byte = 0;
    const auto received = recv(loopback.inside.get(), &byte, 1, 0);
    EXPECT_TRUE(received == 0 || (received < 0 && errno == ECONNRESET)) << errno;
  }
  StopHere();
  ExpectRemovedAtOrigin();
}

TEST_F(ReachTest, PublishedAtLoopbackOnly) {
  Start(a_, kOld);
  auto side = Origin(b_);
  side.ports = {{Protocol::kTcp, "127.0.0.1", 8080, 7000}};
  Move(b_, "172.17.0.5", {});
  ASSERT_TRUE(IsOk(SetUpOrigin(a_.netns, side)));
  Pair pair = Open(a_.netns, "127.0.0.1", 8080);
  ExpectAlive({&pair});
  EXPECT_FALSE(Reaches(a_.netns, "127.0.0.1", 6379));
  EXPECT_FALSE(Reaches(a_.netns, a_.address, 8080));
  EXPECT_FALSE(Reaches(client_, a_.address, 8080));
}

TEST_F(ReachTest, TheTunnelDoesNotLeadToTheLoopbackServicesOfTheOldHost) {
  Start(a_, kOld);
  Move(b_, "172.17.0.5", {});
  auto secret = TcpListen(a_.netns, "127.0.0.1", 25);
  // A container that may set routes tries.
  container_->Run(
      "sysctl -qw net.ipv4.conf.all.route_localnet=1;"
      "ip rule add pref 1 to 127.0.0.9 lookup 99; ip rule add pref 2 lookup local;"
      "ip route add 127.0.0.9 via 169.254.77.48 dev mg01234567 onlink src 198.18.7.1 "
      "table 99");
  auto on_wildcard = TcpListen(a_.netns, "127.0.0.9", 25);
  auto from = UdpSocket(*container_, kRelayAddress, 0);
  EXPECT_FALSE(Reaches(*container_, "127.0.0.9", 25));
  EXPECT_TRUE(Reaches(a_.netns, "127.0.0.9", 25));
}

TEST_P(ReachTrafficTest, ItsOwnAddressByWayOfTheOldHost) {
  client_.Run(
      "ip route add 172.17.0.0/16 via 10.77.0.1; ip route add fd00:172:17::/64 via fd00:10:77::1");
  Start(a_, kOld);
  Pair routed = Open(client_, kOld);
  Pair from_host = Open(a_.netns, kOld);
  EXPECT_EQ(PeerAddress(routed.inside), Of(kClient));
  stands_in_ = true;
  Move(b_, "172.17.0.5", {&routed, &from_host});
  for (bool stands_in : {true, false}) {
    auto side = Origin(b_);
    if (!stands_in) {
      side.stand_ins.clear();  // the address is that of no bridge here
    }
    SetUpAtOrigin(side);
    EXPECT_EQ(FindStandIns(a_.netns)->size(), stands_in ? Both(kOld).size() : 0U);
    ExpectAlive({&routed, &from_host}, /*bulk=*/true);
    Pair new_routed = Open(client_, kOld);
    EXPECT_EQ(PeerAddress(new_routed.inside), Of(kClient));
    EXPECT_EQ(PeerAddress(new_routed.outside), Of(kOld));
    Pair new_from_host = Open(a_.netns, kOld);
    ExpectAlive({&new_routed, &new_from_host}, /*bulk=*/true);
    EXPECT_TRUE(ExchangeUdp(UdpSocket(client_, Of("0.0.0.0"), 0), Of(kOld), 53, udp_));
    EXPECT_TRUE(ExchangeUdp(UdpSocket(a_.netns, Of("0.0.0.0"), 0), Of(kOld), 53, udp_));
    EXPECT_TRUE(Ping(client_, Of(kOld)));
    EXPECT_TRUE(Ping(a_.netns, Of(kOld)));
    // As with Docker: from outside only published ports, from the host itself all.
    auto hidden = TcpListen(*container_, Of("0.0.0.0"), 7999);
    EXPECT_TRUE(Reaches(a_.netns, Of(kOld), 7999));
    EXPECT_EQ(Reaches(client_, Of(kOld), 7999), GetParam() == Traffic::kIpv6);
    side.open_addresses = true;
    SetUpAtOrigin(side);
    EXPECT_TRUE(Reaches(client_, Of(kOld), 7999));
  }
  // The published port of the host is not one of the container.
  EXPECT_FALSE(Reaches(client_, Of(kOld), 6379));
  StopHere();
  ExpectRemovedAtOrigin();
}

// The container's connections with itself, by the addresses that it has now only for the relay.
TEST_P(ReachTrafficTest, ConnectionsOfTheContainerWithItself) {
  Start(a_, kOld);
  Pair inner = Open(*container_, kOld);
  auto connections = SelectRelaySockets(*ListSockets(*container_)).connections;
  ASSERT_EQ(connections.size(), 2U);
  auto target = b_.StartContainer("172.17.0.5");
  ContainerSide side;
  side.relay = relay_;
  side.local_address = b_.address;
  side.remote_address = a_.address;
  side.old_addresses = {Of(kOld)};
  side.connections = connections;
  ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *target, side)));
  auto one = testing::TakeTcp(std::move(inner.outside));
  auto other = testing::TakeTcp(std::move(inner.inside));
  // The end that is there first asks for the other.
  target->Run(
      "nft 'table inet early { chain out { type filter hook output priority 0;"
      "tcp flags & rst != 0 drop; }; }'");
  inner = {testing::RestoreTcp(*target, one), testing::RestoreTcp(*target, other)};
  target->Run("nft delete table inet early");
  ExpectAlive({&inner}, /*bulk=*/true);
  listener_ = TcpListen(*target, Of("0.0.0.0"), 7000);
  for (const char* address : {kRelayAddress, kOld, "172.17.0.5", "127.0.0.1"}) {
    Pair pair = Open(*target, address);
    ExpectAlive({&pair});
  }
}

// The neighbour is another container on A's bridge. Its packets are seen by A's connection tracking
// or not, as on hosts with and without br_netfilter.
class NeighbourTest : public ReachTest,
                      public ::testing::WithParamInterface<std::tuple<bool, Traffic>> {
 protected:
  NeighbourTest() : ReachTest(std::get<1>(GetParam())) {
    stands_in_ = true;
    a_.TrackBridged(std::get<0>(GetParam()));
    neighbour_ = a_.StartContainer(kNeighbour);
    before_ = a_.Snapshot();
  }

  std::unique_ptr<Netns> neighbour_;
};

INSTANTIATE_TEST_SUITE_P(BridgedPackets, NeighbourTest,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values(Traffic::kIpv4, Traffic::kIpv6,
                                                              Traffic::kIpv6Filtered)),
                         [](const auto& variant) {
                           return (std::get<0>(variant.param) ? "Tracked" : "Untracked") +
                                  NameOf(std::get<1>(variant.param));
                         });

TEST_P(NeighbourTest, ConnectionsGoOnWhereverTheContainerIs) {
  Start(a_, kOld);
  Pair inbound = Open(*neighbour_, kOld);
  Pair outbound = Outbound(*neighbour_, kNeighbour);
  std::vector<Pair*> pairs{&inbound, &outbound};
  ExpectAlive(pairs);
  auto open_more = [&](const std::string& address) {
    Pair pair = Open(*neighbour_, address);
    EXPECT_EQ(PeerAddress(pair.inside), Of(kNeighbour));
    EXPECT_EQ(PeerAddress(pair.outside), Of(address));
    EXPECT_TRUE(Ping(*neighbour_, Of(address)));
    EXPECT_TRUE(ExchangeUdp(UdpSocket(*neighbour_, Of("0.0.0.0"), 0), Of(address), 53, udp_));
    auto unpublished = TcpListen(*container_, Of("0.0.0.0"), 7999);
    EXPECT_TRUE(Reaches(*neighbour_, Of(address), 7999));
    return pair;
  };

  // Docker gives the container there the address that the neighbour has here.
  Move(b_, kNeighbour, pairs);
  // Docker deletes what it takes for the old container's, even later.
  for (const char* side : {"-r ", "-q ", "-s "}) {
    a_.netns.ExitCode(std::string("conntrack -D ") + (six() ? "-f ipv6 " : "") + side + Of(kOld));
  }
  ExpectAlive(pairs, /*bulk=*/true);
  EXPECT_EQ(LocalAddress(inbound.inside), Of(kOld));
  Pair relayed = open_more(kOld);
  pairs.push_back(&relayed);
  Pair published = Open(*neighbour_, a_.address, 6379);
  pairs.push_back(&published);
  ExpectAlive(pairs, /*bulk=*/true);
  ASSERT_FALSE(HasFailure());

  Move(d_, "172.17.0.9", pairs);
  ExpectAlive(pairs, /*bulk=*/true);
  Pair relayed_again = open_more(kOld);
  pairs.push_back(&relayed_again);
  ASSERT_FALSE(HasFailure());

  Move(a_, kOld, pairs);  // home, at the address that it had
  EXPECT_THAT(*FindStandIns(a_.netns), ::testing::IsEmpty());
  EXPECT_EQ(neighbour_->Believes(Of(kOld)), container_->Mac("eth0"));
  ExpectAlive(pairs, /*bulk=*/true);
  Pair at_home = open_more(kOld);
  EXPECT_EQ(LocalAddress(at_home.inside), Of(kOld));
  pairs.push_back(&at_home);
  ExpectAlive(pairs);
  ASSERT_FALSE(HasFailure());

  Move(b_, "172.17.0.5", pairs);  // second departure
  ExpectAlive(pairs, /*bulk=*/true);

  Move(a_, "172.17.0.7", pairs);  // home, at another address
  EXPECT_EQ(FindStandIns(a_.netns)->size(), Both(kOld).size());
  ExpectAlive(pairs, /*bulk=*/true);
  Pair by_old_address = open_more(kOld);
  Pair by_new_address = open_more("172.17.0.7");
  Pair by_old_address_from_host = Open(a_.netns, kOld);
  pairs.push_back(&by_old_address_from_host);
  pairs.push_back(&by_old_address);
  pairs.push_back(&by_new_address);
  ExpectAlive(pairs, /*bulk=*/true);
  ASSERT_FALSE(HasFailure());

  Move(d_, kNeighbour, pairs);
  EXPECT_EQ(FindStandIns(a_.netns)->size(), 2 * Both(kOld).size());
  ExpectAlive(pairs, /*bulk=*/true);
  Pair by_other_address = open_more("172.17.0.7");
  ExpectAlive({&by_other_address}, /*bulk=*/true);

  StopHere();
  ExpectRemovedAtOrigin();
}

TEST_P(NeighbourTest, DatagramsOfConnectedSockets) {
  Start(a_, kOld);
  Pair pair{UdpSocket(*neighbour_, Of(kNeighbour), 4000), UdpSocket(*container_, Of(kOld), 4001)};
  ASSERT_TRUE(testing::ConnectUdp(pair.outside, Of(kOld), 4001));
  ASSERT_TRUE(testing::ConnectUdp(pair.inside, Of(kNeighbour), 4000));
  ASSERT_TRUE(Exchange(pair.outside, pair.inside));
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  auto connections = SelectRelaySockets(*ListSockets(*container_)).connections;
  ASSERT_EQ(connections.size(), 1U);
  TakeAddresses();
  SetUpAtOrigin(Origin(b_));
  auto moves = PlanMoves();
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, moves)));
  LeadNeighboursTo(b_, connections);
  auto target = b_.StartContainer(kNeighbour);
  ContainerSide side;
  side.relay = relay_;
  side.local_address = b_.address;
  side.remote_address = a_.address;
  side.old_addresses = {Of(kOld)};
  side.connections = connections;
  ASSERT_TRUE(IsOk(SetUpContainerSide(b_.netns, *target, side)));
  pair.inside = UdpSocket(*target, Of(kOld), 4001);
  ASSERT_TRUE(testing::ConnectUdp(pair.inside, Of(kNeighbour), 4000));
  EXPECT_TRUE(Exchange(pair.inside, pair.outside));
}

TEST_P(NeighbourTest, AbortGivesEverythingBack) {
  Start(a_, kOld);
  Pair inbound = Open(*neighbour_, kOld);
  Pair outbound = Outbound(*neighbour_, kNeighbour);
  Pair published = six() ? Inbound4() : Inbound();
  const auto running = a_.Snapshot();
  const auto mac = container_->Mac("eth0");
  ASSERT_TRUE(IsOk(LockNetns(*container_)));
  auto connections = SelectRelaySockets(*ListSockets(*container_)).connections;
  TakeAddresses();
  SetUpAtOrigin(Origin(b_));
  auto moves = PlanMoves();
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, moves)));
  for (int repeat = 0; repeat < 2; ++repeat) {
    LeadNeighboursTo(b_, connections);
  }
  ASSERT_TRUE(testing::SendText(inbound.outside, "lost in the tunnel"));
  ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, ReverseConntrackMoves(moves))));
  ASSERT_TRUE(IsOk(RemoveOrigin(a_.netns, kId)));
  ASSERT_TRUE(IsOk(UnlockNetns(*container_)));
  for (const auto& address : Both(kOld)) {
    ASSERT_TRUE(IsOk(GiveBackAddress(a_.netns, {kId, address, "docker0"}, mac)));
  }
  EXPECT_EQ(a_.Snapshot(), running);
  EXPECT_EQ(neighbour_->Believes(Of(kOld)), mac);
  EXPECT_EQ(testing::ReceiveText(inbound.inside, 18), "lost in the tunnel");
  ExpectAlive({&inbound, &outbound, &published}, /*bulk=*/true);
}

TEST_P(NeighbourTest, DockerHandsTheAddressToAnother) {
  Start(a_, kOld);
  Pair published = six() ? Inbound4() : Inbound();
  Move(b_, "172.17.0.5", {&published});
  Pair lost = Open(*neighbour_, kOld);
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const auto& address : Both(kOld)) {
      ASSERT_TRUE(IsOk(WithdrawAddress(a_.netns, kId, address)));
    }
  }
  auto next = a_.StartContainer(kOld);
  auto service = TcpListen(*next, Of("0.0.0.0"), 80);
  // A new port of the bridge may still be closed.
  for (int i = 0; i < 100 && neighbour_->Believes(Of(kOld)) != next->Mac("eth0"); ++i) {
    ASSERT_TRUE(IsOk(AnnounceOwnAddresses(*next)));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(neighbour_->Believes(Of(kOld)), next->Mac("eth0"));
  EXPECT_TRUE(Reaches(*neighbour_, Of(kOld), 80));
  EXPECT_TRUE(Reaches(a_.netns, Of(kOld), 80));
  EXPECT_FALSE(Reaches(*neighbour_, Of(kOld), 7000));
  // What does not depend on the address goes on.
  ExpectAlive({&published}, /*bulk=*/true);
  Pair another = Inbound();
  ExpectAlive({&another});
}

}  // namespace
}  // namespace migrate
