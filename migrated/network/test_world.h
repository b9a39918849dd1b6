// For tests: hosts, containers and clients as anonymous network namespaces that end with the test,
// and TCP connections that move between them as CRIU moves them. Needs root, `ip` and `iptables`.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/connection.h"

namespace migrate::testing {

// For EXPECT_TRUE(IsOk(expression)): shows the error.
template <typename T>
::testing::AssertionResult IsOk(const Result<T>& result) {
  return result ? ::testing::AssertionSuccess()
                : ::testing::AssertionFailure() << result.error().message;
}

// A network namespace of its own, with the loopback device up.
class Netns {
 public:
  Netns();
  FdRef ref() const { return fd_; }
  operator FdRef() const { return fd_; }  // NOLINT: lending is always safe
  std::string Path() const;               // for `ip link set ... netns`
  // Runs a shell script inside; its standard output. A failure fails the test.
  std::string Run(const std::string& script) const;
  // Checksums and segments are then made in software, packet by packet.
  void DisableOffloads(const std::string& link) const;
  std::string Mac(const std::string& link) const;
  int ExitCode(const std::string& script) const;
  // The MAC that it believes the address to have; empty if it does not know.
  std::string Believes(const std::string& address) const;

 private:
  OwnedFd fd_;
};

// Until a bridge's new port forwards: before its carrier has been seen it drops what comes.
void WaitForPort(const Netns& bridge, const std::string& port);
// Whether `found` says so within two seconds: a frame that was sent may still wait for a busy CPU.
bool Soon(const std::function<bool()>& found);

// The IPv6 address that goes with an IPv4 one in these tests: 10.77.0.9 is fd00:10:77::9,
// 172.17.0.2 is fd00:172:17::2, 0.0.0.0 is ::, 127.0.0.1 is ::1.
std::string Six(const std::string& four);

// Hosts on one network, 10.77.0.0/24 and fd00:10:77::/64.
class Lan {
 public:
  Lan();
  void Attach(const Netns& host, const std::string& address);

 private:
  Netns switch_;
  int ports_ = 0;
};

// A host with the rules that Docker makes: bridge docker0, NAT, a FORWARD policy that drops. Of
// IPv6 it has addresses, on the bridge fd00:172:17::1/64, and forwards.
class DockerHost {
 public:
  DockerHost(Lan& lan, const std::string& address);

  // The same rules for IPv6, as Docker makes them with its option ip6tables.
  void FilterIpv6();
  // Has the IPv6 address that goes with it as well.
  std::unique_ptr<Netns> StartContainer(const std::string& address);
  // Ends the container's namespace and deletes what Docker deletes, conntrack entries included.
  void StopContainer(std::unique_ptr<Netns> container, const std::string& address);
  void Publish(const std::string& protocol, int host_port, const std::string& address, int port);
  void Unpublish(const std::string& protocol, int host_port, const std::string& address, int port);
  // Whether connection tracking and translation see what the bridge passes on (br_netfilter).
  void TrackBridged(bool on);
  // Everything that must be as before once a relay is removed.
  std::string Snapshot() const { return SnapshotOf(netns); }
  static std::string SnapshotOf(const Netns& netns);

  Netns netns;
  std::string address;

 private:
  void Port(const char* action, const std::string& protocol, int host_port,
            const std::string& container, int port);

  bool filters_ipv6_ = false;
  int containers_ = 0;
  std::map<const Netns*, std::string> ports_;  // of docker0
};

// Sockets with time-outs of a few seconds. An invalid descriptor if it failed.
OwnedFd TcpListen(FdRef netns, const std::string& address, int port);
OwnedFd TcpConnect(FdRef netns, const std::string& address, int port);
OwnedFd TcpAccept(const OwnedFd& listener);
OwnedFd UdpSocket(FdRef netns, const std::string& address, int port);
bool ConnectUdp(const OwnedFd& socket, const std::string& address, int port);
std::string LocalAddress(const OwnedFd& socket);
std::string PeerAddress(const OwnedFd& socket);
int LocalPort(const OwnedFd& socket);
bool SendText(const OwnedFd& socket, const std::string& text);
std::string ReceiveText(const OwnedFd& socket, std::size_t size);
// Text both ways between the two ends of a connection; true if all of it arrived.
bool Exchange(const OwnedFd& one, const OwnedFd& other);
// The same with `bytes` of data each way, at the same time.
bool ExchangeBulk(const OwnedFd& one, const OwnedFd& other, std::size_t bytes);
// Sends from `client` to address:port, answers from `server`; true if the answer comes from there.
bool ExchangeUdp(const OwnedFd& client, const std::string& address, int port,
                 const OwnedFd& server);

// Whether an echo request is answered, from that address, within two seconds.
bool Ping(FdRef netns, const std::string& address);
// Whether a connection is made within a second.
bool Reaches(FdRef netns, const std::string& address, int port);

// Segments of a connection, one after the other from a thread of its own, with numbers that no end
// takes seriously. They show how hosts on the way treat the connection at every moment.
class AckFlood {
 public:
  AckFlood(FdRef netns, const OwnedFd& connection);
  ~AckFlood();
  int sent() const { return sent_; }
  // Stops. RST segments that the connection's remote end seemed to send.
  int CountResets();

 private:
  OwnedFd raw_;
  sockaddr_in remote_{};
  std::array<std::uint8_t, 20> segment_{};
  std::atomic<bool> stop_ = false;
  std::atomic<int> sent_ = 0;
  std::thread thread_;
};

// The state of an established TCP socket, as CRIU takes it.
struct TcpImage {
  sockaddr_storage local{};
  sockaddr_storage remote{};
  std::uint32_t send_sequence = 0;
  std::uint32_t receive_sequence = 0;
  std::string send_queue;
  std::string receive_queue;
  int mss = 0;
  std::uint32_t timestamp = 0;
  std::uint8_t options = 0;
  std::uint8_t send_scale = 0;
  std::uint8_t receive_scale = 0;
  std::vector<char> window;
};
// Closes the socket without a packet.
TcpImage TakeTcp(OwnedFd socket);
OwnedFd RestoreTcp(FdRef netns, const TcpImage& image);

}  // namespace migrate::testing
