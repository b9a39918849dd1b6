// For tests of relays: a container that goes from host to host with its connections, as a migration
// moves it. Needs root. The same tests run with IPv4 and with IPv6: they name IPv4 addresses, and
// Of() makes of them what the test talks to.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "migrated/network/conntrack.h"
#include "migrated/network/netlock.h"
#include "migrated/network/relay.h"
#include "migrated/network/sockets.h"
#include "migrated/network/test_world.h"

namespace migrate::testing {

inline constexpr char kId[] = "0123456789abcdef";
inline constexpr char kRelayAddress[] = "198.18.7.1";
inline constexpr char kClient[] = "10.77.0.9";

enum class Traffic {
  kIpv4,
  kIpv6,          // where Docker does not touch IPv6, as by default until version 27
  kIpv6Filtered,  // where it does, and translates published ports
};
inline std::string NameOf(Traffic traffic) {
  return traffic == Traffic::kIpv4 ? "Ipv4" : traffic == Traffic::kIpv6 ? "Ipv6" : "Ipv6Filtered";
}
inline constexpr std::size_t kBulk = 4 * 1024 * 1024;

// Both ends of a connection; `inside` is the container's and moves.
struct Pair {
  OwnedFd outside;
  OwnedFd inside;
};

class RelayTest : public ::testing::Test {
 protected:
  explicit RelayTest(Traffic traffic = Traffic::kIpv4)
      : traffic_(traffic), relay_(MakeRelaySpec(kId, kRelayAddress)) {
    lan_.Attach(client_, kClient);
    if (traffic != Traffic::kIpv4) {
      relay_.relay_address6 = RelayAddress6(kRelayAddress);
    }
    if (traffic == Traffic::kIpv6Filtered) {
      for (DockerHost* host : {&a_, &b_, &d_}) {
        host->FilterIpv6();
      }
    }
    before_ = a_.Snapshot();
  }

  bool six() const { return traffic_ != Traffic::kIpv4; }
  // What goes with the IPv4 address.
  std::string Of(const std::string& address) const {
    if (!six()) {
      return address;
    }
    return address == kRelayAddress ? relay_.relay_address6 : Six(address);
  }
  std::vector<std::string> Both(const std::string& address) const {
    return six() ? std::vector<std::string>{address, Six(address)}
                 : std::vector<std::string>{address};
  }

  // A container at home with listeners that outlive every move (made anew each time).
  void Start(DockerHost& host, const std::string& address) {
    host_ = &host;
    address_ = address;
    container_ = host.StartContainer(address);
    host.Publish("tcp", 6379, address, 7000);
    host.Publish("tcp", 6380, address, 7001);
    host.Publish("udp", 5300, address, 53);
    Listen();
  }

  void Listen() {
    listener_ = TcpListen(*container_, Of("0.0.0.0"), 7000);
    udp_ = UdpSocket(*container_, Of("0.0.0.0"), 53);
    if (six()) {
      listener4_ = TcpListen(*container_, "0.0.0.0", 7000);
    }
    if (!bound_address_.empty()) {
      bound_listener_ = TcpListen(*container_, bound_address_, 7001);
      ASSERT_TRUE(bound_listener_);
    }
  }

  Pair Inbound(int port = 6379) {
    auto outside = TcpConnect(client_, Of(a_.address), port);
    EXPECT_TRUE(outside);
    auto inside = TcpAccept(port == 6379 ? listener_ : bound_listener_);
    EXPECT_TRUE(inside);
    return {std::move(outside), std::move(inside)};
  }

  // By IPv4, in a test of IPv6.
  Pair Inbound4() {
    auto outside = TcpConnect(client_, a_.address, 6379);
    EXPECT_TRUE(outside);
    auto inside = TcpAccept(listener4_);
    EXPECT_TRUE(inside);
    return {std::move(outside), std::move(inside)};
  }

  // From the container to a listener of `netns`.
  Pair Outbound(const Netns& netns, const std::string& address) {
    auto listener = TcpListen(netns, Of("0.0.0.0"), 9000);
    auto inside = TcpConnect(*container_, Of(address), 9000);
    EXPECT_TRUE(inside);
    return {TcpAccept(listener), std::move(inside)};
  }

  OriginSide Origin(const DockerHost& to) {
    OriginSide side{relay_,
                    a_.address,
                    to.address,
                    {{Protocol::kTcp, "", 6379, 7000},
                     {Protocol::kTcp, a_.address, 6380, 7001},
                     {Protocol::kUdp, "0.0.0.0", 5300, 53}},
                    {home_addresses_.begin(), home_addresses_.end()},
                    /*open_addresses=*/false,
                    StandIns()};
    if (six()) {
      side.ports.push_back({Protocol::kTcp, Six(a_.address), 6380, 7001});
      side.ports.push_back({Protocol::kUdp, "::", 5300, 53});
    }
    return side;
  }

  // Docker's rules, and everything else that has no IPv6 to lose, gives no warnings.
  void SetUpAtOrigin(const OriginSide& side) {
    auto warnings = SetUpOrigin(a_.netns, side);
    ASSERT_TRUE(IsOk(warnings));
    EXPECT_THAT(*warnings, ::testing::IsEmpty());
  }

  OriginAtHome AtHome(const std::string& at) {
    OriginAtHome home{relay_, at, "docker0", StandIns(at)};
    if (six()) {
      home.container_address6 = Six(at);
      home.bridge6 = "docker0";
    }
    return home;
  }

  std::vector<ConntrackMove> PlanMoves() {
    auto entries = *ListConntrack(a_.netns);
    auto moves = PlanConntrackMoves(entries, {address_}, kRelayAddress);
    if (six()) {
      for (auto& move : PlanConntrackMoves(entries, {Six(address_)}, relay_.relay_address6)) {
        moves.push_back(std::move(move));
      }
    }
    return moves;
  }

  // Moves the container with the sockets of `pairs`, as a migration does. `at` is the address that
  // Docker gives it on the other host.
  void Move(DockerHost& to, const std::string& at, const std::vector<Pair*>& pairs) {
    ASSERT_TRUE(IsOk(LockNetns(*container_)));
    auto sockets = ListSockets(*container_);
    ASSERT_TRUE(sockets);
    auto selected = SelectRelaySockets(*sockets);
    ASSERT_EQ(selected.connections.size(), pairs.size());
    std::vector<TcpImage> images;
    for (auto* pair : pairs) {
      images.push_back(TakeTcp(std::move(pair->inside)));
    }
    bool from_home = host_ == &a_;
    bool to_home = &to == &a_;
    std::vector<ConntrackMove> moves;
    if (from_home) {
      TakeAddresses();
      SetUpAtOrigin(Origin(to));
      moves = PlanMoves();
      auto lost = ApplyConntrackMoves(a_.netns, moves);
      ASSERT_TRUE(IsOk(lost));
      EXPECT_THAT(*lost, ::testing::IsEmpty());
      LeadNeighboursTo(to, selected.connections);
    }
    auto target = to.StartContainer(at);
    ASSERT_TRUE(IsOk(LockNetns(*target)));
    auto warnings = SetUpContainerSide(to.netns, *target, Side(to, selected));
    ASSERT_TRUE(IsOk(warnings));
    EXPECT_THAT(*warnings, ::testing::IsEmpty());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      pairs[i]->inside = RestoreTcp(*target, images[i]);
    }
    StopHere();
    container_ = std::move(target);
    host_ = &to;
    address_ = at;
    Listen();
    if (to_home) {
      a_.Publish("tcp", 6379, at, 7000);
      a_.Publish("tcp", 6380, at, 7001);
      a_.Publish("udp", 5300, at, 53);
      warnings = SetUpOriginAtHome(a_.netns, AtHome(at));
      ASSERT_TRUE(IsOk(warnings));
      EXPECT_EQ(warnings->size(), ends_at_home_ ? 1U : 0U);
    } else if (from_home) {
      // Stopping the container deleted entries that still name its address.
      ASSERT_TRUE(IsOk(ApplyConntrackMoves(a_.netns, moves)));
      LeadNeighboursTo(to, selected.connections);
    } else {
      SetUpAtOrigin(Origin(to));
    }
    ASSERT_TRUE(IsOk(UnlockNetns(*container_)));
    ASSERT_TRUE(IsOk(AnnounceOwnAddresses(*container_)));
  }

  // Of every address that the container had at A, but `present`.
  std::vector<StandIn> StandIns(const std::string& present = {}) {
    std::vector<StandIn> stand_ins;
    for (const auto& address : home_addresses_) {
      if (address != present && address != Six(present)) {
        stand_ins.push_back({kId, address, "docker0"});
      }
    }
    return stand_ins;
  }

  void TakeAddresses() {
    if (stands_in_) {
      for (const auto& address : Both(address_)) {
        home_addresses_.insert(address);
      }
      for (const auto& stand_in : StandIns()) {
        ASSERT_TRUE(IsOk(TakeAddress(a_.netns, stand_in)));
      }
    }
  }

  void LeadNeighboursTo(DockerHost& to, const std::vector<Connection>& connections) {
    auto lost = LeadNeighbours(a_.netns, Origin(to), connections);
    ASSERT_TRUE(IsOk(lost));
    EXPECT_THAT(*lost, ::testing::IsEmpty());
  }

  ContainerSide Side(const DockerHost& at, const RelaySockets& sockets) {
    ContainerSide side;
    side.relay = relay_;
    if (&at == &a_) {
      side.home_interface = "eth0";
    } else {
      side.local_address = at.address;
      side.remote_address = a_.address;
    }
    std::set<std::string> old;
    for (const auto& connection : sockets.connections) {
      old.insert(connection.local_address);
    }
    for (const auto& bound : sockets.bound) {
      old.insert(bound.address);
    }
    old.erase(kRelayAddress);
    old.erase(relay_.relay_address6);
    side.old_addresses.assign(old.begin(), old.end());
    side.connections = sockets.connections;
    side.bound = sockets.bound;
    return side;
  }

  void StopHere() {
    listener_.reset();
    listener4_.reset();
    udp_.reset();
    bound_listener_.reset();
    if (host_ == &a_) {
      a_.Unpublish("tcp", 6379, address_, 7000);
      a_.Unpublish("tcp", 6380, address_, 7001);
      a_.Unpublish("udp", 5300, address_, 53);
    }
    host_->StopContainer(std::move(container_), address_);
  }

  bool AskUdp() {
    return ExchangeUdp(UdpSocket(client_, Of("0.0.0.0"), 0), Of(a_.address), 5300, udp_);
  }

  // Nothing of the relay may be left where the test began.
  void ExpectRemovedAtOrigin() {
    EXPECT_TRUE(IsOk(RemoveOrigin(a_.netns, kId)));
    EXPECT_TRUE(IsOk(RemoveOrigin(a_.netns, kId)));
    EXPECT_EQ(a_.Snapshot(), before_);
    EXPECT_TRUE(FindRelays(a_.netns)->empty());
    EXPECT_TRUE(FindStandIns(a_.netns)->empty());
    auto entries = ListConntrack(a_.netns);
    for (const auto& entry : *entries) {
      EXPECT_NE(entry.reply.source_address, Of(kRelayAddress));
      EXPECT_NE(entry.original.source_address, Of(kRelayAddress));
    }
  }

  const Traffic traffic_;
  RelaySpec relay_;
  Lan lan_;
  Netns client_;
  DockerHost a_{lan_, "10.77.0.1"};
  DockerHost b_{lan_, "10.77.0.2"};
  DockerHost d_{lan_, "10.77.0.3"};
  std::string before_;
  // The addresses that the container had at A are led to it and stood in for.
  bool stands_in_ = false;
  std::set<std::string> home_addresses_;
  bool ends_at_home_ = false;  // connections from ::1

  DockerHost* host_ = nullptr;
  std::string address_;
  std::unique_ptr<Netns> container_;
  OwnedFd listener_;
  OwnedFd listener4_;  // in tests of IPv6
  std::string bound_address_;
  OwnedFd bound_listener_;
  OwnedFd udp_;
};

}  // namespace migrate::testing
