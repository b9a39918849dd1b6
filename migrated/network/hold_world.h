// For the tests of the hold queue: a client, a host that forwards, and two places where a container
// may be, both with its address; the host's route decides which one gets the packets. And numbered
// datagrams, which show what was lost, doubled or out of order.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "migrated/network/hold_queue.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/test_world.h"

namespace migrate::testing {

inline constexpr char kHoldId[] = "0123456789abcdef";
inline constexpr char kOtherHoldId[] = "fedcba9876543210";
inline constexpr char kClientAddress[] = "10.1.0.2";
inline constexpr char kHostAddress[] = "10.1.0.1";
inline constexpr char kContainerAddress[] = "10.2.0.2";
inline constexpr char kClientAddress6[] = "fd01::2";
inline constexpr char kHostAddress6[] = "fd01::1";
inline constexpr char kContainerAddress6[] = "fd02::2";

struct HoldWorld {
  HoldWorld() {
    host.Run(R"(
      echo 1 > /proc/sys/net/ipv4/ip_forward
      echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
      ip addr add 10.2.0.1/32 dev lo)");
    host.Run("ip link add client type veth peer name eth0 netns " + client.Path());
    host.Run(
        "ip addr add 10.1.0.1/24 dev client; ip addr add fd01::1/64 dev client nodad;"
        "ip link set client up");
    client.Run(
        "ip addr add 10.1.0.2/24 dev eth0; ip addr add fd01::2/64 dev eth0 nodad;"
        "ip link set eth0 up; ip route add default via 10.1.0.1; ip route add default via fd01::1");
    for (auto* place : {&old_place, &new_place}) {
      std::string link = place == &old_place ? "old" : "new";
      host.Run("ip link add " + link + " type veth peer name eth0 netns " + place->Path() +
               "; ip addr add fd02::1/128 dev " + link + " nodad; ip link set " + link + " up");
      place->Run(
          "ip addr add 10.2.0.2/32 dev eth0; ip addr add fd02::2/128 dev eth0 nodad;"
          "ip link set eth0 up; ip route add default via 10.2.0.1 dev eth0 onlink;"
          "ip route add default via fd02::1 dev eth0 onlink");
      // Both neighbours known: few packets may wait for the answer to an ARP request.
      host.Run("ip neigh replace 10.2.0.2 lladdr " + place->Mac("eth0") + " dev " + link +
               "; ip neigh replace fd02::2 lladdr " + place->Mac("eth0") + " dev " + link);
    }
    RouteTo("old");
  }

  void RouteTo(const std::string& link) const {
    host.Run("ip route replace 10.2.0.2/32 dev " + link + "; ip -6 route replace fd02::2/128 dev " +
             link);
  }

  std::string Leftovers() const {
    return host.Run("nft list ruleset; cat /proc/thread-self/net/netfilter/nfnetlink_queue");
  }

  Netns client;
  Netns host;
  Netns old_place;
  Netns new_place;
};

inline HoldSpec HoldOfAddress(const std::string& address, const std::string& id = kHoldId) {
  HoldSpec spec;
  spec.id = id;
  spec.addresses = {address};
  return spec;
}

// A UDP socket for either family.
class Mailbox {
 public:
  Mailbox(FdRef netns, const std::string& address, int port) {
    auto made = ValueInNetns<OwnedFd>(netns, [&]() -> Result<OwnedFd> {
      auto to = Name(address, port);
      OwnedFd fd(socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      int bytes = 64 * 1024 * 1024;
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
      CHECK(bind(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
      return fd;
    });
    CHECK(made);
    fd_ = *std::move(made);
  }

  bool Send(const std::string& address, int port, int number, std::size_t bytes = 16) const {
    std::string text = std::to_string(number);
    text.resize(bytes, ' ');
    auto to = Name(address, port);
    return sendto(fd_.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&to),
                  sizeof to) == static_cast<ssize_t>(bytes);
  }

  // Numbers first to last, last not included.
  void SendMany(const std::string& address, int port, int first, int last,
                std::size_t bytes = 16) const {
    for (int i = first; i < last; ++i) {
      ASSERT_TRUE(Send(address, port, i, bytes));
    }
  }

  // Until there are `count`, or nothing comes for a few seconds.
  std::vector<int> Receive(std::size_t count) const {
    std::vector<int> numbers;
    while (numbers.size() < count && IsReadable(5000)) {
      numbers.push_back(ReceiveOne());
    }
    return numbers;
  }

  // What is there, once nothing has come for a moment.
  std::vector<int> ReceiveRest() const {
    std::vector<int> numbers;
    while (IsReadable(150)) {
      numbers.push_back(ReceiveOne());
    }
    return numbers;
  }

  int port() const { return LocalPort(fd_); }

 private:
  static sockaddr_storage Name(const std::string& address, int port) {
    sockaddr_storage name{};
    auto* four = reinterpret_cast<sockaddr_in*>(&name);
    auto* six = reinterpret_cast<sockaddr_in6*>(&name);
    if (inet_pton(AF_INET, address.c_str(), &four->sin_addr) == 1) {
      four->sin_family = AF_INET;
      four->sin_port = htons(static_cast<std::uint16_t>(port));
    } else {
      CHECK(inet_pton(AF_INET6, address.c_str(), &six->sin6_addr) == 1);
      six->sin6_family = AF_INET6;
      six->sin6_port = htons(static_cast<std::uint16_t>(port));
    }
    return name;
  }

  bool IsReadable(int milliseconds) const {
    pollfd poll_fd{fd_.get(), POLLIN, 0};
    return poll(&poll_fd, 1, milliseconds) == 1;
  }

  int ReceiveOne() const {
    std::array<char, 65536> text{};
    return recv(fd_.get(), text.data(), text.size() - 1, 0) > 0 ? std::atoi(text.data()) : -1;
  }

  OwnedFd fd_;
};

// first, first + 1, ... last - 1
inline std::vector<int> Numbers(int first, int last) {
  std::vector<int> numbers;
  for (int i = first; i < last; ++i) {
    numbers.push_back(i);
  }
  return numbers;
}

// Until the pump has seen what was sent, at most a few seconds.
inline HoldStats WaitForPackets(const HoldQueue& hold, std::uint64_t packets) {
  HoldStats stats;
  for (int i = 0; i < 5000; ++i) {
    stats = hold.stats();
    if (stats.packets + stats.dropped >= packets) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return stats;
}

}  // namespace migrate::testing
