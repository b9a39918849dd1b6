#include <gtest/gtest.h>

#include "migrated/relays.h"

namespace migrate {
namespace {

Connection Tcp(const std::string& local, std::uint16_t port, std::uint16_t remote_port) {
  return {Protocol::kTcp, local, port, "10.0.0.9", remote_port};
}

v1::Relay RelayOf(const std::string& id, const std::string& address) {
  v1::Relay relay;
  relay.set_id(id);
  relay.set_relay_address(address);
  return relay;
}

TEST(DistributeConnections, AllAreTheHostsOwnBeforeTheFirstMove) {
  v1::Lineage lineage;
  EXPECT_EQ(DistributeConnections(lineage, {Tcp("172.17.0.2", 80, 1)}, "").size(), 1u);
}

TEST(DistributeConnections, RelaysKeepWhatCameThroughThem) {
  v1::Lineage lineage;
  v1::Relay relay = RelayOf("a", "198.18.0.1");
  v1::TcpEndpointPair* carried = relay.add_connections();
  carried->set_protocol("tcp");
  carried->set_local_address("172.17.0.2");
  carried->set_local_port(80);
  carried->set_remote_address("10.0.0.9");
  carried->set_remote_port(1);
  v1::TcpEndpointPair* closed = relay.add_connections();
  *closed = *carried;
  closed->set_remote_port(2);
  *lineage.add_relays() = relay;
  const auto own = DistributeConnections(lineage,
                                         {Tcp("172.17.0.2", 80, 1),   // there since before the move
                                          Tcp("198.18.0.1", 80, 3),   // new, through the relay
                                          Tcp("172.17.0.5", 80, 4)},  // made at this host
                                         "");
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0].remote_port(), 4u);
  ASSERT_EQ(lineage.relays(0).connections_size(), 2);
  EXPECT_EQ(lineage.relays(0).connections(0).remote_port(), 1u);
  EXPECT_EQ(lineage.relays(0).connections(1).remote_port(), 3u);
}

TEST(DistributeConnections, AHostTakesBackWhatItsOwnRelayCarried) {
  v1::Lineage lineage;
  *lineage.add_relays() = RelayOf("a", "198.18.0.1");
  const auto own = DistributeConnections(lineage, {Tcp("198.18.0.1", 80, 3)}, "a");
  EXPECT_EQ(own.size(), 1u);
  EXPECT_EQ(lineage.relays(0).connections_size(), 0);
}

}  // namespace
}  // namespace migrate
