// The hold queue with real packets: what is held, where it goes, in which order.

#include "migrated/network/hold_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "migrated/network/conntrack.h"
#include "migrated/network/hold_world.h"
#include "migrated/network/netlock.h"
#include "migrated/network/test_world.h"

namespace migrate {
namespace {

using testing::DockerHost;
using ::testing::ElementsAre;
using testing::Exchange;
using testing::HoldOfAddress;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::kClientAddress;
using testing::kClientAddress6;
using testing::kContainerAddress;
using testing::kContainerAddress6;
using testing::kHoldId;
using testing::kHostAddress;
using testing::kHostAddress6;
using testing::kOtherHoldId;
using testing::Lan;
using testing::Mailbox;
using testing::Netns;
using testing::Numbers;
using testing::TcpAccept;
using testing::TcpConnect;
using testing::TcpListen;
using testing::WaitForPackets;

constexpr int kPort = 5300;

class HoldQueueTest : public ::testing::Test {
 protected:
  std::unique_ptr<HoldQueue> Start(const HoldSpec& spec) {
    auto started = HoldQueue::Start(world_.host, spec);
    EXPECT_TRUE(IsOk(started));
    CHECK(started);
    return *std::move(started);
  }

  HoldStats Release(HoldQueue& hold) {
    auto released = hold.Release();
    EXPECT_TRUE(IsOk(released));
    return released.value_or(HoldStats{});
  }

  testing::HoldWorld world_;
  Mailbox client_{world_.client, kClientAddress, 0};
  Mailbox old_{world_.old_place, kContainerAddress, kPort};
  Mailbox new_{world_.new_place, kContainerAddress, kPort};
};

TEST_F(HoldQueueTest, DatagramsReachTheNewPlaceInOrder) {
  constexpr int kCount = 2000;
  client_.SendMany(kContainerAddress, kPort, 0, 3);
  EXPECT_EQ(old_.Receive(3), Numbers(0, 3));
  auto hold = Start(HoldOfAddress(kContainerAddress));
  EXPECT_THAT(*FindHolds(world_.host), ElementsAre(kHoldId));
  client_.SendMany(kContainerAddress, kPort, 0, kCount);
  EXPECT_EQ(WaitForPackets(*hold, kCount).packets, std::uint64_t{kCount});
  world_.RouteTo("new");
  EXPECT_THAT(new_.ReceiveRest(), IsEmpty());
  auto stats = Release(*hold);
  EXPECT_EQ(stats.packets, std::uint64_t{kCount});
  EXPECT_EQ(stats.bytes, std::uint64_t{kCount} * (20 + 8 + 16));
  EXPECT_EQ(stats.dropped, 0U);
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_GT(stats.longest.count(), 0);
  EXPECT_FALSE(stats.timed_out);
  EXPECT_EQ(new_.Receive(kCount), Numbers(0, kCount));
  EXPECT_THAT(old_.ReceiveRest(), IsEmpty());
  EXPECT_THAT(*FindHolds(world_.host), IsEmpty());
  EXPECT_EQ(world_.Leftovers(), "");
  client_.SendMany(kContainerAddress, kPort, 5, 6);
  EXPECT_THAT(new_.Receive(1), ElementsAre(5));
}

// Packets come all the time, before, while and after the hold is released.
TEST_F(HoldQueueTest, NothingIsLostUnderSteadyTraffic) {
  std::atomic<bool> stop = false;
  int sent = 0;
  std::thread sender([&] {
    while (!stop) {
      EXPECT_TRUE(client_.Send(kContainerAddress, kPort, sent++));
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  for (int round = 0; round < 10; ++round) {
    auto hold = Start(HoldOfAddress(kContainerAddress));
    WaitForPackets(*hold, 50);
    world_.RouteTo(round % 2 == 0 ? "new" : "old");
    EXPECT_EQ(Release(*hold).lost, 0U);
  }
  stop = true;
  sender.join();
  auto at_old = old_.ReceiveRest();
  auto at_new = new_.ReceiveRest();
  std::size_t overtaken = 0;
  for (auto* place : {&at_old, &at_new}) {
    for (std::size_t i = 1; i < place->size(); ++i) {
      overtaken += (*place)[i] < (*place)[i - 1];
    }
  }
  EXPECT_GT(at_old.size(), 100U);
  EXPECT_GT(at_new.size(), 100U);
  auto all = at_old;
  all.insert(all.end(), at_new.begin(), at_new.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, Numbers(0, sent));
  // When the rules go, a packet may overtake one that is just being accepted.
  std::printf("%d datagrams, 10 holds, %zu overtaken\n", sent, overtaken);
  EXPECT_LE(overtaken * 50, at_old.size() + at_new.size());
}

TEST_F(HoldQueueTest, OnlyWhatIsNamedIsHeld) {
  Mailbox third{world_.client, kClientAddress, 0};
  Mailbox host{world_.host, kHostAddress, 7000};
  auto port = static_cast<std::uint16_t>(client_.port());
  HoldSpec spec;
  spec.id = kHoldId;
  spec.tuples = {{Protocol::kUdp, {kClientAddress, port, kContainerAddress, kPort}}};
  spec.ports = {{Protocol::kTcp, "", 7000, 0}, {Protocol::kUdp, "10.1.0.77", 7000, 0}};
  auto hold = Start(spec);
  EXPECT_TRUE(client_.Send(kContainerAddress, kPort, 1));
  EXPECT_TRUE(third.Send(kContainerAddress, kPort, 2));
  EXPECT_TRUE(client_.Send(kHostAddress, 7000, 3));
  EXPECT_THAT(old_.ReceiveRest(), ElementsAre(2));
  EXPECT_THAT(host.ReceiveRest(), ElementsAre(3));
  spec.tuples.clear();
  spec.ports = {{Protocol::kUdp, kHostAddress, 7000, 0}};
  EXPECT_TRUE(IsOk(hold->Update(spec)));
  EXPECT_TRUE(client_.Send(kContainerAddress, kPort, 4));
  EXPECT_TRUE(client_.Send(kHostAddress, 7000, 5));
  EXPECT_THAT(old_.ReceiveRest(), ElementsAre(4));  // 1 still waits
  EXPECT_THAT(host.ReceiveRest(), IsEmpty());
  spec.ports = {{Protocol::kUdp, "0.0.0.0", 7000, 0}};
  EXPECT_TRUE(IsOk(hold->Update(spec)));
  EXPECT_TRUE(client_.Send(kHostAddress, 7000, 6));
  // Port 7000 of a host that is not this one.
  Mailbox other{world_.old_place, kContainerAddress, 7000};
  EXPECT_TRUE(client_.Send(kContainerAddress, 7000, 7));
  EXPECT_THAT(other.ReceiveRest(), ElementsAre(7));
  EXPECT_THAT(host.ReceiveRest(), IsEmpty());
  EXPECT_EQ(Release(*hold).packets, 3U);
  EXPECT_THAT(old_.ReceiveRest(), ElementsAre(1));
  EXPECT_THAT(host.ReceiveRest(), ElementsAre(5, 6));
}

TEST_F(HoldQueueTest, Ipv6) {
  Mailbox client{world_.client, kClientAddress6, 0};
  Mailbox at_old{world_.old_place, kContainerAddress6, kPort};
  Mailbox at_new{world_.new_place, kContainerAddress6, kPort};
  Mailbox host{world_.host, kHostAddress6, 7000};
  Mailbox local{world_.host, kHostAddress6, 0};
  auto port = static_cast<std::uint16_t>(client.port());
  auto spec = HoldOfAddress(kContainerAddress);
  auto hold = Start(spec);  // IPv4 first, the other table comes with the update
  spec.tuples = {{Protocol::kUdp, {kClientAddress6, port, kContainerAddress6, kPort}}};
  spec.ports = {{Protocol::kUdp, "", 7000, 0}};
  EXPECT_TRUE(client_.Send(kContainerAddress, kPort, 0));
  ASSERT_TRUE(IsOk(hold->Update(spec)));
  client.SendMany(kContainerAddress6, kPort, 0, 100);
  EXPECT_TRUE(client.Send(kHostAddress6, 7000, 7));
  EXPECT_TRUE(client_.Send(kHostAddress, 7000, 8));
  EXPECT_THAT(host.ReceiveRest(), IsEmpty());
  spec.addresses = {kContainerAddress6, "fd02:0:0::2"};
  spec.tuples.clear();
  ASSERT_TRUE(IsOk(hold->Update(spec)));
  client.SendMany(kContainerAddress6, kPort, 100, 200);
  local.SendMany(kContainerAddress6, kPort, 200, 210);
  WaitForPackets(*hold, 213);
  world_.RouteTo("new");
  auto stats = Release(*hold);
  EXPECT_EQ(stats.packets, 213U);
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_EQ(at_new.Receive(210), Numbers(0, 210));
  EXPECT_THAT(at_old.ReceiveRest(), IsEmpty());
  EXPECT_THAT(host.Receive(1), ElementsAre(7));
  EXPECT_THAT(new_.Receive(1), ElementsAre(0));
  EXPECT_EQ(world_.Leftovers(), "");
}

// Their route was chosen before they were held.
TEST_F(HoldQueueTest, PacketsOfTheHostItself) {
  Mailbox local{world_.host, kHostAddress, 0};
  auto hold = Start(HoldOfAddress(kContainerAddress));
  local.SendMany(kContainerAddress, kPort, 0, 100);
  WaitForPackets(*hold, 100);
  world_.RouteTo("new");
  EXPECT_EQ(Release(*hold).packets, 100U);
  EXPECT_EQ(new_.Receive(100), Numbers(0, 100));
  EXPECT_THAT(old_.ReceiveRest(), IsEmpty());
}

// Over the loopback device a packet passes both hooks.
TEST_F(HoldQueueTest, PacketsToTheHostItselfAreHeldOnce) {
  Mailbox local{world_.host, kHostAddress, 0};
  Mailbox published{world_.host, kHostAddress, 7000};
  HoldSpec spec;
  spec.id = kHoldId;
  spec.ports = {{Protocol::kUdp, "0.0.0.0", 7000, 0}};
  auto hold = Start(spec);
  local.SendMany(kHostAddress, 7000, 0, 10);
  EXPECT_THAT(published.ReceiveRest(), IsEmpty());
  EXPECT_EQ(Release(*hold).packets, 10U);
  EXPECT_EQ(published.Receive(10), Numbers(0, 10));
}

TEST_F(HoldQueueTest, TcpStreamGoesOnElsewhere) {
  auto listener = TcpListen(world_.old_place, kContainerAddress, 80);
  auto outside = TcpConnect(world_.client, kContainerAddress, 80);
  auto inside = TcpAccept(listener);
  ASSERT_TRUE(Exchange(outside, inside));
  HoldSpec spec;
  spec.id = kHoldId;
  spec.tuples = {{Protocol::kTcp,
                  {kClientAddress, static_cast<std::uint16_t>(testing::LocalPort(outside)),
                   kContainerAddress, 80}}};
  auto hold = Start(spec);
  ASSERT_TRUE(IsOk(LockNetns(world_.old_place)));
  std::string text(9000, 'x');
  ASSERT_TRUE(testing::SendText(outside, text));
  WaitForPackets(*hold, 1);
  auto image = testing::TakeTcp(std::move(inside));
  EXPECT_EQ(image.receive_queue, "");
  inside = testing::RestoreTcp(world_.new_place, image);
  world_.RouteTo("new");
  auto stats = Release(*hold);
  EXPECT_GE(stats.bytes, text.size());
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_EQ(testing::ReceiveText(inside, text.size()), text);
  EXPECT_TRUE(testing::ExchangeBulk(outside, inside, 1024 * 1024));
}

// Segments that the sender leaves to the device to cut are held as they are.
TEST_F(HoldQueueTest, LargeSegments) {
  auto listener = TcpListen(world_.old_place, kContainerAddress, 80);
  auto outside = TcpConnect(world_.client, kContainerAddress, 80);
  auto inside = TcpAccept(listener);
  ASSERT_TRUE(testing::ExchangeBulk(outside, inside, 4 * 1024 * 1024));  // opens the window
  auto hold = Start(HoldOfAddress(kContainerAddress));
  std::string text(60000, 'y');
  ASSERT_TRUE(testing::SendText(outside, text));
  WaitForPackets(*hold, 1);
  auto stats = Release(*hold);
  EXPECT_GE(stats.packets, 1U);
  EXPECT_GT(stats.bytes, stats.packets * 1500);
  EXPECT_EQ(testing::ReceiveText(inside, text.size()), text);
  EXPECT_TRUE(testing::ExchangeBulk(outside, inside, 1024 * 1024));
}

TEST_F(HoldQueueTest, OnlyNewConnectionsFirst) {
  auto at_old = TcpListen(world_.old_place, kContainerAddress, 80);
  auto at_new = TcpListen(world_.new_place, kContainerAddress, 80);
  auto outside = TcpConnect(world_.client, kContainerAddress, 80);
  auto inside = TcpAccept(at_old);
  auto spec = HoldOfAddress(kContainerAddress);
  spec.only_new = true;
  auto hold = Start(spec);
  EXPECT_TRUE(Exchange(outside, inside));
  EXPECT_TRUE(client_.Send(kContainerAddress, kPort, 1));
  EXPECT_THAT(old_.Receive(1), ElementsAre(1));
  OwnedFd late;
  std::thread connecting([&] { late = TcpConnect(world_.client, kContainerAddress, 80); });
  WaitForPackets(*hold, 1);
  EXPECT_TRUE(Exchange(outside, inside));
  auto before = hold->stats().packets;
  spec.only_new = false;
  EXPECT_TRUE(IsOk(hold->Update(spec)));
  EXPECT_TRUE(testing::SendText(outside, "held"));
  EXPECT_TRUE(client_.Send(kContainerAddress, kPort, 2));
  EXPECT_GE(WaitForPackets(*hold, before + 2).packets, before + 2);
  world_.RouteTo("new");
  EXPECT_THAT(old_.ReceiveRest(), IsEmpty());
  Release(*hold);
  connecting.join();
  ASSERT_TRUE(late);
  auto accepted = TcpAccept(at_new);
  EXPECT_TRUE(Exchange(late, accepted));
  EXPECT_THAT(new_.Receive(1), ElementsAre(2));
}

// Two containers behind the translation of one host; connection tracking decides which is meant.
// The guard table of ApplyConntrackMoves() comes and goes while packets are held.
TEST(HoldQueueConntrackTest, EntriesAreReplacedMeanwhile) {
  Lan lan;
  DockerHost host(lan, "10.77.0.1");
  Netns client;
  lan.Attach(client, "10.77.0.9");
  auto old_place = host.StartContainer("172.17.0.2");
  auto new_place = host.StartContainer("172.17.0.3");
  host.Publish("tcp", 6379, "172.17.0.2", 7000);
  host.Publish("udp", kPort, "172.17.0.2", 53);
  Mailbox sender(client, "10.77.0.9", 0);
  Mailbox at_old(*old_place, "0.0.0.0", 53);
  Mailbox at_new(*new_place, "0.0.0.0", 53);
  auto listener = TcpListen(*old_place, "0.0.0.0", 7000);
  auto outside = TcpConnect(client, host.address, 6379);
  auto inside = TcpAccept(listener);
  ASSERT_TRUE(Exchange(outside, inside));
  sender.SendMany(host.address, kPort, 0, 5);
  ASSERT_EQ(at_old.Receive(5), Numbers(0, 5));
  // Without an answer the firewall would take the flow for one that has not begun.
  ASSERT_TRUE(at_old.Send("10.77.0.9", sender.port(), 0));
  host.netns.Run("ip neigh replace 172.17.0.3 lladdr " + new_place->Mac("eth0") + " dev docker0");

  HoldSpec spec;
  spec.id = kHoldId;
  spec.ports = {{Protocol::kUdp, "0.0.0.0", kPort, 0}};
  auto entries = ListConntrack(host.netns);
  ASSERT_TRUE(IsOk(entries));
  for (const auto& entry : *entries) {
    spec.tuples.push_back({entry.protocol, entry.original});
    spec.tuples.push_back({entry.protocol, entry.reply});
  }
  auto hold = HoldQueue::Start(host.netns, spec);
  ASSERT_TRUE(IsOk(hold));
  ASSERT_TRUE(IsOk(LockNetns(*old_place)));
  sender.SendMany(host.address, kPort, 5, 300);
  ASSERT_TRUE(testing::SendText(outside, "while held"));
  EXPECT_GE(WaitForPackets(**hold, 296).packets, 296U);
  auto image = testing::TakeTcp(std::move(inside));
  inet_pton(AF_INET, "172.17.0.3", &reinterpret_cast<sockaddr_in&>(image.local).sin_addr);
  ASSERT_TRUE(IsOk(LockNetns(*new_place)));
  inside = testing::RestoreTcp(*new_place, image);
  auto moves = PlanConntrackMoves(*entries, {"172.17.0.2"}, "172.17.0.3");
  EXPECT_EQ(moves.size(), 2U);
  for (int i = 0; i < 2; ++i) {
    auto lost = ApplyConntrackMoves(host.netns, moves);
    ASSERT_TRUE(IsOk(lost));
    EXPECT_THAT(*lost, IsEmpty());
  }
  EXPECT_TRUE(IsOk(UnlockNetns(*new_place)));
  EXPECT_TRUE(IsOk(UnlockNetns(*old_place)));
  auto stats = (*hold)->Release();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_EQ(stats->lost, 0U);
  EXPECT_EQ(at_new.Receive(295), Numbers(5, 300));
  EXPECT_THAT(at_old.ReceiveRest(), IsEmpty());
  EXPECT_EQ(testing::ReceiveText(inside, 10), "while held");
  EXPECT_TRUE(Exchange(outside, inside));
  EXPECT_EQ(host.netns.Run("nft list tables | grep migrate || true"), "");
}

TEST_F(HoldQueueTest, TwoAtOnce) {
  Mailbox published{world_.host, kHostAddress, 7000};
  auto one = Start(HoldOfAddress(kContainerAddress));
  HoldSpec spec;
  spec.id = kOtherHoldId;
  spec.ports = {{Protocol::kUdp, "0.0.0.0", 7000, 0}};
  client_.SendMany(kContainerAddress, kPort, 0, 20);
  auto two = Start(spec);
  client_.SendMany(kHostAddress, 7000, 0, 20);
  client_.SendMany(kContainerAddress, kPort, 20, 40);
  EXPECT_THAT(*FindHolds(world_.host), ElementsAre(kHoldId, kOtherHoldId));
  WaitForPackets(*one, 40);
  WaitForPackets(*two, 20);
  world_.RouteTo("new");
  auto stats = Release(*one);
  EXPECT_EQ(stats.packets, 40U);
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_EQ(new_.Receive(40), Numbers(0, 40));
  EXPECT_THAT(*FindHolds(world_.host), ElementsAre(kOtherHoldId));
  // The first again, while its table cannot go yet.
  auto again = Start(HoldOfAddress(kContainerAddress));
  client_.SendMany(kContainerAddress, kPort, 40, 60);
  EXPECT_THAT(*FindHolds(world_.host), ElementsAre(kHoldId, kOtherHoldId));
  WaitForPackets(*again, 20);
  EXPECT_THAT(new_.ReceiveRest(), IsEmpty());
  EXPECT_THAT(published.ReceiveRest(), IsEmpty());
  stats = Release(*two);
  EXPECT_EQ(stats.packets, 20U);
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_EQ(published.Receive(20), Numbers(0, 20));
  stats = Release(*again);
  EXPECT_EQ(stats.packets, 20U);
  EXPECT_EQ(stats.lost, 0U);
  EXPECT_EQ(new_.Receive(20), Numbers(40, 60));
  EXPECT_EQ(world_.Leftovers(), "");
}

}  // namespace
}  // namespace migrate
