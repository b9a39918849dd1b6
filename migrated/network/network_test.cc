#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>

#include "base/subnet.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/host_facts.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/netlock.h"
#include "migrated/network/nft.h"
#include "migrated/network/sockets.h"
#include "migrated/network/test_world.h"

namespace migrate {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Exchange;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Lan;
using testing::LocalPort;
using testing::Netns;
using testing::TcpAccept;
using testing::TcpConnect;
using testing::TcpListen;
using testing::UdpSocket;

bool IsQuiet(const OwnedFd& socket, int milliseconds) {
  pollfd poll_fd{socket.get(), POLLIN | POLLRDHUP, 0};
  return poll(&poll_fd, 1, milliseconds) == 0;
}

// Whether a SYN to port 6379 is answered within half a second.
bool Reaches(const Netns& netns, const char* address) {
  auto connected = ValueInNetns<bool>(netns, [&]() -> Result<bool> {
    OwnedFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(6379);
    inet_pton(AF_INET, address, &to.sin_addr);
    connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
    pollfd poll_fd{fd.get(), POLLOUT, 0};
    return poll(&poll_fd, 1, 500) == 1;
  });
  return *connected;
}

TEST(NftTest, OneTransactionAndErrorText) {
  Netns netns;
  EXPECT_TRUE(IsOk(InNetns(netns, [&]() -> Result<> {
    auto failed = RunNft("add table ip one\nadd chain ip absent input\n");
    EXPECT_FALSE(failed);
    EXPECT_EQ(failed.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(failed.error().message, HasSubstr("No such file or directory"));
    EXPECT_FALSE(*NftTableExists("ip", "one"));
    EXPECT_TRUE(IsOk(RunNft("add table ip one")));
    EXPECT_TRUE(*NftTableExists("ip", "one"));
    EXPECT_TRUE(IsOk(RemoveNftTable("ip", "one")));
    return RemoveNftTable("ip", "one");
  })));
}

class NetlockTest : public ::testing::Test {
 protected:
  NetlockTest() {
    lan_.Attach(client_, "10.77.0.9");
    lan_.Attach(container_, "10.77.0.1");
    listener_ = TcpListen(container_, "0.0.0.0", 6379);
    connection_ = TcpConnect(client_, "10.77.0.1", 6379);
    accepted_ = TcpAccept(listener_);
  }
  Lan lan_;
  Netns client_;
  Netns container_;
  OwnedFd listener_;
  OwnedFd connection_;
  OwnedFd accepted_;
};

TEST_F(NetlockTest, LocksAndUnlocks) {
  EXPECT_FALSE(*IsLocked(container_));
  EXPECT_TRUE(IsOk(UnlockNetns(container_)));
  EXPECT_TRUE(IsOk(LockNetns(container_)));
  EXPECT_TRUE(IsOk(LockNetns(container_)));
  EXPECT_TRUE(*IsLocked(container_));
  EXPECT_FALSE(*IsLocked(client_));
  EXPECT_FALSE(Reaches(client_, "10.77.0.1"));
  EXPECT_TRUE(Reaches(container_, "127.0.0.1"));
  EXPECT_TRUE(Reaches(container_, "10.77.0.1"));
  EXPECT_TRUE(IsOk(UnlockNetns(container_)));
  EXPECT_FALSE(*IsLocked(container_));
  EXPECT_TRUE(Reaches(client_, "10.77.0.1"));
  EXPECT_EQ(container_.Run("nft list ruleset"), "");
}

TEST_F(NetlockTest, ConnectionSurvivesTheLock) {
  ASSERT_TRUE(Exchange(connection_, accepted_));
  EXPECT_TRUE(IsOk(LockNetns(container_)));
  EXPECT_TRUE(testing::SendText(connection_, "while locked"));
  EXPECT_TRUE(IsQuiet(accepted_, 300));
  EXPECT_TRUE(IsOk(UnlockNetns(container_)));
  EXPECT_EQ(testing::ReceiveText(accepted_, 12), "while locked");
  EXPECT_TRUE(Exchange(connection_, accepted_));
}

TEST_F(NetlockTest, NothingOfClosedSocketsGetsOut) {
  ASSERT_TRUE(Exchange(connection_, accepted_));
  EXPECT_TRUE(IsOk(LockNetns(container_)));
  linger abort{1, 0};  // close sends a RST
  setsockopt(accepted_.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  accepted_.reset();
  listener_.reset();
  // The namespace would answer this one with a RST as well.
  EXPECT_TRUE(testing::SendText(connection_, "hello"));
  EXPECT_TRUE(IsQuiet(connection_, 700));
}

TEST_F(NetlockTest, ListSockets) {
  auto udp = UdpSocket(container_, "10.77.0.1", 53);
  auto sockets = ListSockets(container_);
  ASSERT_TRUE(sockets);
  auto find = [&](Protocol protocol, SocketState state) {
    return std::find_if(sockets->begin(), sockets->end(), [&](const SocketInfo& socket) {
      return socket.protocol == protocol && socket.state == state;
    });
  };
  auto listening = find(Protocol::kTcp, SocketState::kListen);
  ASSERT_NE(listening, sockets->end());
  EXPECT_EQ(listening->local_address, "0.0.0.0");
  EXPECT_EQ(listening->local_port, 6379);
  auto established = find(Protocol::kTcp, SocketState::kEstablished);
  ASSERT_NE(established, sockets->end());
  auto peer_port = static_cast<std::uint16_t>(LocalPort(connection_));
  Connection expected{Protocol::kTcp, "10.77.0.1", 6379, "10.77.0.9", peer_port};
  EXPECT_EQ(established->connection(), expected);
  EXPECT_NE(established->inode, 0U);
  auto selected = SelectRelaySockets(*sockets);
  EXPECT_THAT(selected.connections, ElementsAre(expected));
  EXPECT_THAT(selected.bound, ElementsAre(BoundPort{Protocol::kUdp, "10.77.0.1", 53}));
}

TEST_F(NetlockTest, MappedAddressesAreIpv4) {
  auto socket = ValueInNetns<OwnedFd>(container_, []() -> Result<OwnedFd> {
    OwnedFd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(7000);
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd.get(), 1), 0);
    return fd;
  });
  auto connection = TcpConnect(client_, "10.77.0.1", 7000);
  auto accepted = TcpAccept(*socket);
  auto sockets = ListSockets(container_);
  ASSERT_TRUE(sockets);
  auto found = std::find_if(sockets->begin(), sockets->end(), [](const SocketInfo& s) {
    return s.state == SocketState::kEstablished && s.local_port == 7000;
  });
  ASSERT_NE(found, sockets->end());
  EXPECT_TRUE(found->ipv6);
  EXPECT_EQ(found->local_address, "10.77.0.1");
  EXPECT_EQ(found->remote_address, "10.77.0.9");
}

TEST_F(NetlockTest, EndsChosenConnections) {
  auto other = TcpConnect(client_, "10.77.0.1", 6379);
  auto other_accepted = TcpAccept(listener_);
  const int port = LocalPort(connection_);
  auto ended = EndConnections(container_, [&](const Connection& connection) {
    return connection.remote_port == port && connection.local_port == 6379;
  });
  ASSERT_TRUE(IsOk(ended));
  EXPECT_EQ(*ended, 1);
  char byte = 0;
  EXPECT_EQ(recv(connection_.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(recv(accepted_.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNABORTED);
  EXPECT_TRUE(Exchange(other, other_accepted));
  // Everything: the listener is no connection.
  EXPECT_EQ(*EndConnections(container_, [](const Connection&) { return true; }), 1);
  auto late = TcpConnect(client_, "10.77.0.1", 6379);
  EXPECT_TRUE(static_cast<bool>(late));
}

ConntrackEntry Entry(ConntrackTuple original, ConntrackTuple reply) {
  ConntrackEntry entry;
  entry.original = std::move(original);
  entry.reply = std::move(reply);
  entry.tcp_state = 3;
  return entry;
}

TEST(ConntrackTest, Plan) {
  auto inbound = Entry({"10.0.0.9", 4000, "10.0.0.1", 6379}, {"172.17.0.2", 80, "10.0.0.9", 4000});
  auto outbound = Entry({"172.17.0.2", 4001, "10.0.0.8", 80}, {"10.0.0.8", 80, "10.0.0.1", 4001});
  auto other = Entry({"10.0.0.9", 4002, "10.0.0.1", 22}, {"10.0.0.1", 22, "10.0.0.9", 4002});
  auto over = inbound;
  over.tcp_state = 7;  // TIME_WAIT
  auto moves = PlanConntrackMoves({inbound, outbound, other, over}, {"172.17.0.2"}, "198.18.0.1");
  ASSERT_EQ(moves.size(), 2U);
  EXPECT_EQ(moves[0].after.original, inbound.original);
  EXPECT_EQ(moves[0].after.reply, (ConntrackTuple{"198.18.0.1", 80, "10.0.0.9", 4000}));
  EXPECT_EQ(moves[1].after.original, (ConntrackTuple{"198.18.0.1", 4001, "10.0.0.8", 80}));
  EXPECT_EQ(moves[1].after.reply, outbound.reply);
  EXPECT_TRUE(moves[1].after.assured);
  EXPECT_THAT(PlanConntrackMoves({other}, {"172.17.0.2"}, "198.18.0.1"), IsEmpty());
  EXPECT_EQ(ReverseConntrackMoves(moves)[0].after, inbound);
}

TEST(ConntrackTest, ApplyReverseAndDelete) {
  Netns netns;
  auto inbound = Entry({"10.0.0.9", 4000, "10.0.0.1", 6379}, {"172.17.0.2", 80, "10.0.0.9", 4000});
  auto outbound = Entry({"172.17.0.2", 4001, "10.0.0.8", 80}, {"10.0.0.8", 80, "10.0.0.1", 4002});
  auto datagram = inbound;
  datagram.protocol = Protocol::kUdp;
  datagram.tcp_state = 0;
  std::vector<ConntrackEntry> entries{inbound, outbound, datagram};
  for (auto& entry : entries) {
    entry.timeout = 300;
    entry.seen_reply = entry.assured = true;
    EXPECT_TRUE(IsOk(CreateConntrack(netns, entry)));
  }
  auto tuples = [&] {
    std::vector<std::pair<ConntrackTuple, ConntrackTuple>> list;
    auto listed = ListConntrack(netns);
    EXPECT_TRUE(listed);
    for (const auto& entry : *listed) {
      EXPECT_TRUE(entry.seen_reply && entry.assured);
      list.emplace_back(entry.original, entry.reply);
    }
    std::sort(list.begin(), list.end());
    return list;
  };
  auto before = tuples();
  ASSERT_EQ(before.size(), 3U);
  EXPECT_THAT(before, Contains(std::pair(outbound.original, outbound.reply)));
  auto moves = PlanConntrackMoves(*ListConntrack(netns), {"172.17.0.2"}, "198.18.0.1");
  ASSERT_EQ(moves.size(), 3U);
  for (int repeat = 0; repeat < 2; ++repeat) {
    auto lost = ApplyConntrackMoves(netns, moves);
    ASSERT_TRUE(lost) << lost.error().message;
    EXPECT_THAT(*lost, IsEmpty());
  }
  auto after = tuples();
  EXPECT_EQ(after.size(), 3U);
  EXPECT_THAT(after, Contains(std::pair(moves[0].after.original, moves[0].after.reply)));
  EXPECT_TRUE(IsOk(ApplyConntrackMoves(netns, ReverseConntrackMoves(moves))));
  EXPECT_EQ(tuples(), before);
  EXPECT_EQ(netns.Run("nft list ruleset"), "");
  EXPECT_TRUE(IsOk(DeleteConntrackOf(netns, "172.17.0.2")));
  EXPECT_THAT(tuples(), IsEmpty());
  EXPECT_TRUE(IsOk(DeleteConntrack(netns, inbound)));
}

TEST(ConntrackTest, TakenTupleIsReported) {
  Netns netns;
  auto one = Entry({"198.18.0.1", 4001, "10.0.0.8", 80}, {"10.0.0.8", 80, "10.0.0.1", 4001});
  auto two = Entry({"172.17.0.2", 4001, "10.0.0.8", 80}, {"10.0.0.8", 80, "10.0.0.1", 4002});
  one.timeout = two.timeout = 300;
  EXPECT_TRUE(IsOk(CreateConntrack(netns, one)));
  EXPECT_TRUE(IsOk(CreateConntrack(netns, two)));
  auto moves = PlanConntrackMoves(*ListConntrack(netns), {"172.17.0.2"}, "198.18.0.1");
  ASSERT_EQ(moves.size(), 1U);
  auto lost = ApplyConntrackMoves(netns, moves);
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_EQ(lost->size(), 1U);
  auto left = ListConntrack(netns);
  ASSERT_EQ(left->size(), 1U);
  EXPECT_EQ(left->front().reply, one.reply);
}

TEST(HostFactsTest, Answers) {
  Lan lan;
  Netns host;
  lan.Attach(host, "10.77.0.1");
  auto listener = TcpListen(host, "0.0.0.0", 6379);
  EXPECT_FALSE(*UsablePort(host, Protocol::kTcp, "", 6379));
  EXPECT_FALSE(*UsablePort(host, Protocol::kTcp, "10.77.0.1", 6379));
  EXPECT_TRUE(*UsablePort(host, Protocol::kTcp, "::", 6379));
  EXPECT_TRUE(*UsablePort(host, Protocol::kUdp, "", 6379));
  EXPECT_TRUE(*UsablePort(host, Protocol::kTcp, "10.77.0.1", 6380));
  EXPECT_FALSE(*UsablePort(host, Protocol::kTcp, "10.77.0.2", 6380));
  EXPECT_FALSE(UsablePort(host, Protocol::kTcp, "x", 6380));
  EXPECT_EQ(*SourceAddressToward(host, "10.77.0.2"), "10.77.0.1");
  EXPECT_EQ(SourceAddressToward(host, "10.88.0.2").error().code, ErrorCode::kUnavailable);
  auto networks = LocalNetworks(host);
  ASSERT_TRUE(networks);
  EXPECT_TRUE(std::any_of(networks->begin(), networks->end(), [](const LocalNetwork& n) {
    return n.subnet == "10.77.0.0/24" && n.link == "eth0";
  }));
  EXPECT_TRUE(SubnetsOverlap("10.0.0.0/8", "10.77.0.0/24"));
  EXPECT_TRUE(SubnetsOverlap("10.77.0.7", "10.77.0.0/24"));
  EXPECT_FALSE(SubnetsOverlap("10.77.1.0/24", "10.77.0.0/24"));
  EXPECT_FALSE(SubnetsOverlap("nonsense", "10.77.0.0/24"));
}

}  // namespace
}  // namespace migrate
