#include "migrated/settle.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

SocketInfo Socket(Protocol protocol, SocketState state, std::uint32_t receive_queue) {
  SocketInfo socket;
  socket.protocol = protocol;
  socket.state = state;
  socket.local_address = "10.0.0.2";
  socket.local_port = 80;
  socket.receive_queue = receive_queue;
  return socket;
}

TEST(FindUnsettledTest, ConnectionsOnlyTheKernelKnows) {
  const Unsettled found = FindUnsettled({Socket(Protocol::kTcp, SocketState::kListen, 3),
                                         Socket(Protocol::kTcp, SocketState::kNewSynRecv, 0),
                                         Socket(Protocol::kTcp, SocketState::kSynRecv, 0)});
  EXPECT_EQ(found.unaccepted, 3);
  EXPECT_EQ(found.handshakes, 2);
  EXPECT_EQ(found.listener, "10.0.0.2:80");
  EXPECT_TRUE(found.connections());
}

TEST(FindUnsettledTest, BytesOfAnAcceptedConnectionAreCarried) {
  EXPECT_TRUE(FindUnsettled({Socket(Protocol::kTcp, SocketState::kEstablished, 4000),
                             Socket(Protocol::kTcp, SocketState::kListen, 0)})
                  .nothing());
}

TEST(FindUnsettledTest, WhatTheKernelStillOwesAfterAClose) {
  SocketInfo orphan = Socket(Protocol::kTcp, SocketState::kFinWait1, 0);
  orphan.send_queue = 5000;
  EXPECT_EQ(FindUnsettled({orphan}).closing, 1);
  EXPECT_EQ(FindUnsettled({orphan}).owed, 5000U);
  orphan.inode = 17;  // half-closed: a process has it, and CRIU carries it
  EXPECT_TRUE(FindUnsettled({orphan}).nothing());
}

TEST(FindUnsettledTest, DatagramsAreNotConnections) {
  const Unsettled found = FindUnsettled({Socket(Protocol::kUdp, SocketState::kClose, 768)});
  EXPECT_EQ(found.datagrams, 1);
  EXPECT_FALSE(found.connections());
  EXPECT_FALSE(found.nothing());
}

}  // namespace
}  // namespace migrate
