#include "migrated/network/announce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "migrated/network/test_world.h"

namespace migrate {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::Netns;
using ::testing::Not;

constexpr char kOldMac[] = "02:00:00:00:00:aa";

// Two nodes on a bridge; `client_` knows the other's addresses at an old MAC.
class AnnounceTest : public ::testing::Test {
 protected:
  AnnounceTest() {
    bridge_.Run("ip link add br0 type bridge; ip link set br0 up");
    Plug(server_, "one", "10.77.0.1/24", "fd77::1/64");
    Plug(client_, "two", "10.77.0.2/24", "fd77::2/64");
    for (const char* port : {"one", "two"}) {
      testing::WaitForPort(bridge_, port);
    }
    for (const char* address : {"10.77.0.1", "fd77::1"}) {
      client_.Run(std::string("ip neigh replace ") + address + " lladdr " + kOldMac +
                  " nud reachable dev eth0");
    }
  }

  void Plug(const Netns& node, const std::string& port, const std::string& four,
            const std::string& six) {
    bridge_.Run("ip link add " + port + " type veth peer name eth0 netns " + node.Path() +
                "; ip link set " + port + " master br0 up");
    node.Run("ip addr add " + four + " dev eth0; ip addr add " + six +
             " dev eth0 nodad; ip link set eth0 up");
  }

  std::string Known(const std::string& address) const {
    return client_.Run("ip neigh show " + address + " dev eth0");
  }

  bool SoonKnown(const std::string& address, const std::string& mac) const {
    return testing::Soon([&] { return Known(address).find(mac) != std::string::npos; });
  }

  Netns bridge_;
  Netns server_;
  Netns client_;
};

TEST_F(AnnounceTest, NeighboursTakeTheMacAtOnce) {
  for (const char* address : {"10.77.0.1", "fd77::1"}) {
    ASSERT_THAT(Known(address), HasSubstr(kOldMac));
    EXPECT_TRUE(IsOk(Announce(server_, "eth0", address)));
    EXPECT_TRUE(SoonKnown(address, server_.Mac("eth0"))) << Known(address);
  }
}

TEST_F(AnnounceTest, TheMacOfAnother) {
  constexpr char kOther[] = "02:00:00:00:00:bb";
  for (const char* address : {"10.77.0.1", "fd77::1"}) {
    EXPECT_TRUE(IsOk(Announce(server_, "eth0", address, kOther)));
    EXPECT_TRUE(SoonKnown(address, kOther)) << Known(address);
  }
  // The bridge sends frames for it to this port from now on.
  EXPECT_THAT(bridge_.Run("bridge fdb show br br0 dynamic"),
              HasSubstr(std::string(kOther) + " dev one"));
}

// What an other system's cache needs is both forms; this one's takes either.
TEST_F(AnnounceTest, BothFormsOfArp) {
  client_.Run(R"(
    nft add table netdev seen
    nft 'add chain netdev seen in { type filter hook ingress device eth0 priority 0; }'
    nft 'add rule netdev seen in arp operation request arp saddr ip 10.77.0.1 counter'
    nft 'add rule netdev seen in arp operation reply arp saddr ip 10.77.0.1 counter'
  )");
  EXPECT_TRUE(IsOk(Announce(server_, "eth0", "10.77.0.1")));
  for (const char* form : {"request", "reply"}) {
    const auto counted =
        std::string("operation ") + form + " arp saddr ip 10.77.0.1 counter packets 1 ";
    EXPECT_TRUE(testing::Soon([&] {
      return client_.Run("nft list table netdev seen").find(counted) != std::string::npos;
    })) << counted;
  }
}

// As a container that has just come and its host, while link-local addresses are being verified.
TEST_F(AnnounceTest, ContainerAndHostKnowEachOtherAtOnce) {
  server_.Run("ip -6 addr add fd77::9/64 dev eth0 nodad; ip -6 neigh flush dev eth0");
  client_.Run("ip -6 neigh flush dev eth0; ip -6 route add default via fd77::9");
  EXPECT_TRUE(IsOk(Introduce6(server_, client_)));
  EXPECT_THAT(Known("fd77::9"), HasSubstr(server_.Mac("eth0") + " STALE"));
  EXPECT_THAT(server_.Run("ip neigh show fd77::2"), HasSubstr(client_.Mac("eth0") + " STALE"));
  // One that is elsewhere is left to the kernel.
  client_.Run("ip -6 route replace default via fd77::8");
  EXPECT_TRUE(IsOk(Introduce6(server_, client_)));
  EXPECT_EQ(Known("fd77::8"), "");
}

TEST_F(AnnounceTest, Refusals) {
  auto code = [&](const char* link, const char* address, const char* mac) {
    auto done = Announce(server_, link, address, mac);
    return done ? std::string("none") : std::string(ErrorCodeName(done.error().code));
  };
  std::string invalid(ErrorCodeName(ErrorCode::kInvalidArgument));
  EXPECT_EQ(code("eth0", "10.77.0.1/24", ""), invalid);
  EXPECT_EQ(code("eth0", "10.77.0.1", "02:00"), invalid);
  EXPECT_EQ(code("a-name-that-is-too-long", "10.77.0.1", ""), invalid);
  EXPECT_EQ(code("eth1", "10.77.0.1", ""), ErrorCodeName(ErrorCode::kNotFound));
  server_.Run("ip link add down0 type bridge");
  EXPECT_EQ(code("down0", "10.77.0.1", ""), ErrorCodeName(ErrorCode::kUnavailable));
  EXPECT_EQ(code("down0", "fd77::1", ""), ErrorCodeName(ErrorCode::kUnavailable));
  EXPECT_THAT(Known("10.77.0.1"), HasSubstr(kOldMac));
}

}  // namespace
}  // namespace migrate
