// The life of a hold: bounds, time limit, death of the program, what is left behind, how long it
// takes.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "migrated/network/hold_queue.h"
#include "migrated/network/hold_world.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/nft.h"

namespace migrate {
namespace {

using ::testing::ElementsAre;
using testing::HoldOfAddress;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::kClientAddress;
using testing::kContainerAddress;
using testing::kHoldId;
using testing::kOtherHoldId;
using testing::Mailbox;
using testing::Numbers;
using testing::WaitForPackets;

constexpr int kPort = 5300;

class HoldLifeTest : public ::testing::Test {
 protected:
  std::unique_ptr<HoldQueue> Start(const HoldSpec& spec) {
    auto started = HoldQueue::Start(world_.host, spec);
    EXPECT_TRUE(IsOk(started));
    CHECK(started);
    return *std::move(started);
  }

  // That datagrams get through, starting with this number.
  void ExpectFlow(int number) {
    client_.SendMany(kContainerAddress, kPort, number, number + 3);
    EXPECT_EQ(old_.Receive(3), Numbers(number, number + 3));
  }

  testing::HoldWorld world_;
  Mailbox client_{world_.client, kClientAddress, 0};
  Mailbox old_{world_.old_place, kContainerAddress, kPort};
};

TEST_F(HoldLifeTest, CheckLeavesNoTrace) {
  EXPECT_TRUE(IsOk(CheckHold(world_.host)));
  EXPECT_EQ(world_.Leftovers(), "");
}

TEST_F(HoldLifeTest, BoundedInPackets) {
  auto spec = HoldOfAddress(kContainerAddress);
  spec.max_packets = 10;
  auto hold = Start(spec);
  client_.SendMany(kContainerAddress, kPort, 0, 25);
  EXPECT_EQ(WaitForPackets(*hold, 25).dropped, 15U);
  auto stats = hold->Release();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_EQ(stats->packets, 10U);
  EXPECT_EQ(stats->dropped, 15U);
  EXPECT_EQ(old_.ReceiveRest(), Numbers(0, 10));
  ExpectFlow(30);
}

TEST_F(HoldLifeTest, BoundedInBytes) {
  auto spec = HoldOfAddress(kContainerAddress);
  spec.max_bytes = 10 * (20 + 8 + 1000) + 100;
  auto hold = Start(spec);
  client_.SendMany(kContainerAddress, kPort, 0, 25, 1000);
  client_.SendMany(kContainerAddress, kPort, 25, 26, 40);
  EXPECT_EQ(WaitForPackets(*hold, 26).dropped, 15U);
  auto stats = hold->Release();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_EQ(stats->packets, 11U);
  EXPECT_EQ(stats->dropped, 15U);
  auto expected = Numbers(0, 10);
  expected.push_back(25);
  EXPECT_EQ(old_.ReceiveRest(), expected);
}

TEST_F(HoldLifeTest, BoundedInTime) {
  auto spec = HoldOfAddress(kContainerAddress);
  spec.time_limit = std::chrono::milliseconds(500);
  auto hold = Start(spec);
  client_.SendMany(kContainerAddress, kPort, 0, 20);
  EXPECT_EQ(old_.Receive(20), Numbers(0, 20));
  while (!hold->stats().timed_out) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(world_.Leftovers(), "");
  EXPECT_EQ(hold->Update(spec).error().code, ErrorCode::kDeadlineExceeded);
  auto stats = hold->Release();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_TRUE(stats->timed_out);
  EXPECT_EQ(stats->packets, 20U);
  EXPECT_GE(stats->longest.count(), 100000);
}

TEST_F(HoldLifeTest, ReleasedByTheDestructorAndTwice) {
  auto hold = Start(HoldOfAddress(kContainerAddress));
  client_.SendMany(kContainerAddress, kPort, 0, 5);
  EXPECT_THAT(old_.ReceiveRest(), IsEmpty());
  hold.reset();
  EXPECT_EQ(old_.Receive(5), Numbers(0, 5));
  EXPECT_EQ(world_.Leftovers(), "");
  hold = Start(HoldOfAddress(kContainerAddress));
  client_.SendMany(kContainerAddress, kPort, 0, 5);
  WaitForPackets(*hold, 5);
  for (int i = 0; i < 2; ++i) {
    auto stats = hold->Release();
    ASSERT_TRUE(IsOk(stats));
    EXPECT_EQ(stats->packets, 5U);
  }
  EXPECT_EQ(hold->stats().packets, 5U);
}

TEST_F(HoldLifeTest, RefusesWhatItCannotDo) {
  auto code = [&](auto change) {
    auto spec = HoldOfAddress(kContainerAddress);
    change(spec);
    auto started = HoldQueue::Start(world_.host, spec);
    return started ? ErrorCode::kInternal : started.error().code;
  };
  auto invalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code([](HoldSpec& spec) { spec.id = "x; flush ruleset"; }), invalid);
  EXPECT_EQ(code([](HoldSpec& spec) { spec.addresses = {"10.0.0.1 }"}; }), invalid);
  EXPECT_EQ(code([](HoldSpec& spec) { spec.ports = {{Protocol::kTcp, "x", 1, 1}}; }), invalid);
  EXPECT_EQ(code([](HoldSpec& spec) { spec.ports = {{Protocol::kTcp, "", 0, 1}}; }), invalid);
  EXPECT_EQ(code([](HoldSpec& spec) {
              spec.tuples = {{Protocol::kTcp, {"10.0.0.1", 1, "fd00::1", 1}}};
            }),
            invalid);
  EXPECT_EQ(code([](HoldSpec& spec) { spec.max_packets = 0; }), invalid);
  EXPECT_EQ(RemoveHold(world_.host, "../etc").error().code, invalid);
  auto hold = Start(HoldOfAddress(kContainerAddress));
  EXPECT_EQ(code([](HoldSpec&) {}), ErrorCode::kAlreadyExists);
  EXPECT_EQ(hold->Update(HoldOfAddress(kContainerAddress, kOtherHoldId)).error().code, invalid);
  // The first is unharmed.
  client_.SendMany(kContainerAddress, kPort, 0, 5);
  EXPECT_EQ(WaitForPackets(*hold, 5).packets, 5U);
  EXPECT_TRUE(IsOk(hold->Release()));
  EXPECT_EQ(old_.Receive(5), Numbers(0, 5));
  EXPECT_EQ(world_.Leftovers(), "");
}

TEST_F(HoldLifeTest, NothingHangsWhenTheProgramDies) {
  // The first of several queues: the next program takes the same number.
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  pid_t child = fork();
  if (child == 0) {
    auto hold = HoldQueue::Start(world_.host, HoldOfAddress(kContainerAddress));
    (void)!write(ready[1], hold ? "y" : "n", 1);
    pause();
    _exit(0);
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  client_.SendMany(kContainerAddress, kPort, 0, 5);
  EXPECT_THAT(old_.ReceiveRest(), IsEmpty());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
  ExpectFlow(10);
  EXPECT_THAT(*FindHolds(world_.host), ElementsAre(kHoldId));
  EXPECT_EQ(HoldQueue::Start(world_.host, HoldOfAddress(kContainerAddress)).error().code,
            ErrorCode::kAlreadyExists);
  EXPECT_TRUE(IsOk(RemoveHold(world_.host, kHoldId)));
  EXPECT_TRUE(IsOk(RemoveHold(world_.host, kHoldId)));
  EXPECT_THAT(*FindHolds(world_.host), IsEmpty());
  EXPECT_EQ(world_.Leftovers(), "");
  ExpectFlow(20);
}

// The kernel drops everything that is queued when a base chain goes.
TEST_F(HoldLifeTest, TablesOfOursMayChangeMeanwhile) {
  const internal::NftTable table{"ip", "migrate_other"};
  const std::string content =
      "table ip migrate_other {\n set s { type ipv4_addr; elements = { 10.9.9.9 }; }\n"
      " chain c { type filter hook prerouting priority -310; ip saddr @s drop; }\n}\n";
  auto set_up = [&] {
    return InNetns(world_.host, [&]() -> Result<> {
      TRY(RunNft(TRY(internal::ResetNftTable(table)) + content));
      return {};
    });
  };
  ASSERT_TRUE(IsOk(set_up()));
  const auto once = world_.Leftovers();
  ASSERT_TRUE(IsOk(set_up()));
  EXPECT_EQ(world_.Leftovers(), once);
  auto hold = Start(HoldOfAddress(kContainerAddress));
  client_.SendMany(kContainerAddress, kPort, 0, 50);
  WaitForPackets(*hold, 50);
  auto retire = [&] {
    return InNetns(world_.host, [&] { return internal::RetireNftTable(table); });
  };
  ASSERT_TRUE(IsOk(set_up()));
  ASSERT_TRUE(IsOk(retire()));
  EXPECT_EQ(world_.host.Run("nft list table ip migrate_other | grep -e drop -e set || true"), "");
  ASSERT_TRUE(IsOk(set_up()));
  client_.SendMany(kContainerAddress, kPort, 50, 60);
  auto stats = hold->Release();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_EQ(stats->lost, 0U);
  EXPECT_EQ(old_.Receive(60), Numbers(0, 60));
  EXPECT_EQ(world_.Leftovers(), once);
  hold = Start(HoldOfAddress(kContainerAddress));
  ASSERT_TRUE(IsOk(retire()));
  ASSERT_TRUE(IsOk(hold->Release()));
  EXPECT_EQ(world_.Leftovers(), "");
}

// A firewall of somebody else is reloaded.
TEST_F(HoldLifeTest, LossesAreCounted) {
  world_.host.Run("nft 'add table ip x; add chain ip x c { type filter hook input priority 0; }'");
  auto hold = Start(HoldOfAddress(kContainerAddress));
  client_.SendMany(kContainerAddress, kPort, 0, 20);
  WaitForPackets(*hold, 20);
  world_.host.Run("nft delete table ip x");
  client_.SendMany(kContainerAddress, kPort, 20, 30);
  auto stats = hold->Release();
  ASSERT_TRUE(IsOk(stats));
  EXPECT_EQ(stats->lost, 20U);
  EXPECT_EQ(old_.Receive(10), Numbers(20, 30));
}

TEST_F(HoldLifeTest, ManyTuples) {
  auto spec = HoldOfAddress("10.9.9.9");
  for (int i = 0; i < 8000; ++i) {
    auto port = static_cast<std::uint16_t>(1024 + i);
    spec.tuples.push_back({Protocol::kTcp, {"10.3.0.1", port, kContainerAddress, 80}});
  }
  auto port = static_cast<std::uint16_t>(client_.port());
  spec.tuples.push_back({Protocol::kUdp, {kClientAddress, port, kContainerAddress, kPort}});
  auto hold = Start(spec);
  client_.SendMany(kContainerAddress, kPort, 0, 5);
  EXPECT_EQ(WaitForPackets(*hold, 5).packets, 5U);
  EXPECT_TRUE(IsOk(hold->Release()));
  EXPECT_EQ(old_.Receive(5), Numbers(0, 5));
}

// Shows, and does not judge, how long it takes.
TEST_F(HoldLifeTest, Measurement) {
  using Clock = std::chrono::steady_clock;
  auto in_us = [](Clock::duration time) {
    return static_cast<long>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
  };
  ASSERT_TRUE(IsOk(CheckHold(world_.host)));
  for (int tuples : {10, 10, 10, 1000, 8000}) {
    HoldSpec spec;
    spec.id = kHoldId;
    spec.ports = {{Protocol::kTcp, "0.0.0.0", 80, 0}};
    for (int i = 0; i < tuples; ++i) {
      auto port = static_cast<std::uint16_t>(1024 + i);
      spec.tuples.push_back({Protocol::kTcp, {"10.3.0.1", port, kContainerAddress, 80}});
    }
    auto begin = Clock::now();
    auto hold = Start(spec);
    auto started = Clock::now();
    spec.addresses = {kContainerAddress};
    ASSERT_TRUE(IsOk(hold->Update(spec)));
    auto updated = Clock::now();
    constexpr int kCount = 1000;
    client_.SendMany(kContainerAddress, kPort, 0, kCount);
    WaitForPackets(*hold, kCount);
    auto release = Clock::now();
    std::thread releaser([&] { ASSERT_TRUE(IsOk(hold->Release())); });
    EXPECT_EQ(old_.Receive(kCount), Numbers(0, kCount));
    auto received = Clock::now();
    releaser.join();
    auto released = Clock::now();
    std::printf(
        "%5d tuples: start %ld us, update %ld us, last of %d packets after %ld us, release %ld "
        "us\n",
        tuples, in_us(started - begin), in_us(updated - started), kCount, in_us(received - release),
        in_us(released - release));
  }
}

}  // namespace
}  // namespace migrate
