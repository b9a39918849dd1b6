#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "migrated/network/address_move.h"
#include "migrated/network/test_world.h"

namespace migrate {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using testing::Netns;

TEST(AddressFilterTest, StrictReversePath) {
  Netns target;
  target.Run(
      "ip link add lan0 type veth peer name lan1; ip link add out0 type veth peer name out1;"
      " ip addr add 10.77.0.2/24 dev lan0; ip addr add 10.88.0.2/24 dev out0;"
      " for link in lan0 lan1 out0 out1; do ip link set $link up; done;"
      " ip route add default via 10.88.0.1; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter;"
      " echo 1 > /proc/sys/net/ipv4/conf/lan0/rp_filter");
  auto blockers = AddressFilterBlockers(target, {"10.77.0.1", ""});
  ASSERT_TRUE(blockers);
  EXPECT_THAT(*blockers, ElementsAre(Field(&Blocker::code, "ADDRESS_RP_FILTER")));
  EXPECT_THAT(*AddressFilterBlockers(target, {"10.88.0.1", ""}), IsEmpty());
  target.Run("echo 2 > /proc/sys/net/ipv4/conf/lan0/rp_filter");
  EXPECT_THAT(*AddressFilterBlockers(target, {"10.77.0.1", ""}), IsEmpty());
}

TEST(AddressNetworkTest, Blockers) {
  auto codes = [](const std::vector<AddressNetwork>& source,
                  const std::vector<AddressNetwork>& target) {
    std::vector<std::string> list;
    for (const auto& blocker : AddressNetworkBlockers(source, target)) {
      list.push_back(blocker.code);
    }
    return list;
  };
  AddressNetwork mine{"net", "bridge", {"172.30.0.0/16", "fd30::/64"}, {"172.30.0.5", "fd30::5"}};
  AddressNetwork same{"net", "bridge", {"fd30::/64", "172.30.0.0/16"}, {"172.30.0.7"}};
  EXPECT_THAT(codes({mine}, {same}), IsEmpty());
  EXPECT_THAT(codes({mine}, {}), ElementsAre("ADDRESS_NETWORK_MISSING"));
  auto narrow = same;
  narrow.subnets = {"172.30.0.0/24", "fd30::/64"};
  EXPECT_THAT(codes({mine}, {narrow}), ElementsAre("ADDRESS_SUBNET_DIFFERS"));
  auto taken = same;
  taken.addresses = {"fd30::5"};
  EXPECT_THAT(codes({mine}, {taken}), ElementsAre("ADDRESS_TAKEN"));
  auto macvlan = same;
  macvlan.driver = "macvlan";
  EXPECT_THAT(codes({mine}, {macvlan}), ElementsAre("ADDRESS_DRIVER_DIFFERS"));
  AddressNetwork standard{"bridge", "bridge", {"172.17.0.0/16"}, {"172.17.0.2"}};
  EXPECT_THAT(codes({standard}, {standard}), ElementsAre("ADDRESS_DEFAULT_BRIDGE"));
}

TEST(SharedL2Test, Macvlan) {
  Netns netns;
  netns.Run(
      "ip link add br0 type bridge; ip link add uplink type bridge;"
      " ip link add link uplink name mac0 type macvlan mode bridge");
  EXPECT_TRUE(*SharedL2(netns, "mac0"));
  EXPECT_FALSE(*SharedL2(netns, "br0"));
  EXPECT_FALSE(*SharedL2(netns, "uplink"));
  EXPECT_EQ(SharedL2(netns, "absent").error().code, ErrorCode::kNotFound);
}

TEST(SortFlowsTest, ByTranslation) {
  auto entry = [](ConntrackTuple original, ConntrackTuple reply, int state) {
    ConntrackEntry made;
    made.original = std::move(original);
    made.reply = std::move(reply);
    made.tcp_state = static_cast<std::uint8_t>(state);
    return made;
  };
  auto direct =
      entry({"10.0.0.9", 4000, "172.30.0.5", 80}, {"172.30.0.5", 80, "10.0.0.9", 4000}, 3);
  auto over = direct;
  over.tcp_state = 7;
  auto published =
      entry({"10.0.0.9", 4001, "10.77.0.1", 8080}, {"172.30.0.5", 80, "10.0.0.9", 4001}, 3);
  auto masqueraded =
      entry({"172.30.0.5", 4002, "10.0.0.8", 443}, {"10.0.0.8", 443, "10.77.0.1", 4002}, 3);
  auto other = entry({"10.0.0.9", 4003, "10.77.0.1", 22}, {"10.77.0.1", 22, "10.0.0.9", 4003}, 3);
  auto flows = SortFlows({direct, over, published, masqueraded, other}, {"172.30.0.5"});
  EXPECT_THAT(flows.direct,
              ElementsAre(Connection{Protocol::kTcp, "172.30.0.5", 80, "10.0.0.9", 4000}));
  EXPECT_THAT(flows.translated,
              ElementsAre(Connection{Protocol::kTcp, "172.30.0.5", 80, "10.0.0.9", 4001},
                          Connection{Protocol::kTcp, "172.30.0.5", 4002, "10.0.0.8", 443}));
}

}  // namespace
}  // namespace migrate
