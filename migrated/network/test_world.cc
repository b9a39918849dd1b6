#include "migrated/network/test_world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>
#include <sstream>

#include "base/check.h"
#include "base/netns.h"
#include "base/subprocess.h"
#include "migrated/network/in_netns.h"

namespace migrate::testing {
namespace {

constexpr int kRepairOff = 0;
constexpr int kRepairOn = 1;
constexpr int kReceiveQueue = 1;
constexpr int kSendQueue = 2;
// Numbers of TCP options; <netinet/tcp.h> has them, but not together with <linux/tcp.h>.
constexpr __u32 kMaxSegmentOption = 2;
constexpr __u32 kWindowOption = 3;
constexpr __u32 kSackPermittedOption = 4;
constexpr __u32 kTimestampOption = 8;

sockaddr_in Ipv4(const std::string& address, int port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(static_cast<std::uint16_t>(port));
  CHECK(inet_pton(AF_INET, address.c_str(), &in.sin_addr) == 1);
  return in;
}

sockaddr* Generic(sockaddr_in& in) { return reinterpret_cast<sockaddr*>(&in); }

sockaddr* Generic(sockaddr_storage& in) { return reinterpret_cast<sockaddr*>(&in); }

bool IsSix(const std::string& address) { return address.find(':') != std::string::npos; }

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;

  sockaddr* generic() { return Generic(storage); }
  const sockaddr* generic() const { return reinterpret_cast<const sockaddr*>(&storage); }
  std::string address() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const bool six = storage.ss_family == AF_INET6;
    const void* bytes =
        six ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr)
            : &reinterpret_cast<const sockaddr_in&>(storage).sin_addr;
    return inet_ntop(six ? AF_INET6 : AF_INET, bytes, text.data(), text.size());
  }
  int port() const { return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port); }
};

Endpoint MakeEndpoint(const std::string& address, int port) {
  Endpoint endpoint;
  if (!IsSix(address)) {
    const auto in = Ipv4(address, port);
    std::memcpy(&endpoint.storage, &in, endpoint.size = sizeof in);
    return endpoint;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(static_cast<std::uint16_t>(port));
  CHECK(inet_pton(AF_INET6, address.c_str(), &in.sin6_addr) == 1);
  std::memcpy(&endpoint.storage, &in, endpoint.size = sizeof in);
  return endpoint;
}

Endpoint LocalEnd(const OwnedFd& socket) {
  Endpoint end;
  getsockname(socket.get(), end.generic(), &end.size);
  return end;
}

Endpoint RemoteEnd(const OwnedFd& socket) {
  Endpoint end;
  getpeername(socket.get(), end.generic(), &end.size);
  return end;
}

OwnedFd OpenSocket(int type, int family) {
  OwnedFd fd(socket(family, type | SOCK_CLOEXEC, 0));
  CHECK(fd);
  timeval timeout{5, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  return fd;
}

OwnedFd InsideNetns(FdRef netns, const std::function<OwnedFd()>& make) {
  auto made = ValueInNetns<OwnedFd>(netns, [&]() -> Result<OwnedFd> { return make(); });
  CHECK(made);
  return *std::move(made);
}

SubprocessOutcome RunIn(FdRef netns, const std::string& script) {
  auto outcome = ValueInNetns<SubprocessOutcome>(netns, [&] {
    return RunSubprocess({.argv = {"sh", "-ec", script}});
  });
  CHECK(outcome);
  return *std::move(outcome);
}

template <typename T>
void Set(const OwnedFd& socket, int option, const T& value) {
  CHECK(setsockopt(socket.get(), IPPROTO_TCP, option, &value, sizeof value) == 0);
}

template <typename T>
T Get(const OwnedFd& socket, int option) {
  T value{};
  socklen_t size = sizeof value;
  CHECK(getsockopt(socket.get(), IPPROTO_TCP, option, &value, &size) == 0);
  return value;
}

}  // namespace

Netns::Netns() {
  // The thread's namespace lives on in the descriptor.
  std::thread([this] {
    CHECK(unshare(CLONE_NEWNET) == 0);
    fd_ = OwnedFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    CHECK(fd_);
  }).join();
  // Addresses are usable at once.
  Run("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up");
}

std::string Netns::Path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_.get());
}

void Netns::DisableOffloads(const std::string& link) const {
  auto done = InNetns(fd_, [&]() -> Result<> {
    OwnedFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    for (unsigned command : {ETHTOOL_SGSO, ETHTOOL_STSO, ETHTOOL_STXCSUM, ETHTOOL_SRXCSUM}) {
      ethtool_value value{command, 0};
      ifreq request{};
      link.copy(request.ifr_name, IFNAMSIZ - 1);
      request.ifr_data = reinterpret_cast<char*>(&value);
      if (ioctl(fd.get(), SIOCETHTOOL, &request) != 0) {
        return ErrnoError("ethtool");
      }
    }
    return {};
  });
  EXPECT_TRUE(IsOk(done));
}

std::string Netns::Mac(const std::string& link) const {
  auto text = Run("ip -br link show " + link);
  auto colon = text.find(':');
  return colon == std::string::npos || colon < 2 ? text : text.substr(colon - 2, 17);
}

std::string Netns::Run(const std::string& script) const {
  auto outcome = RunIn(fd_, script);
  EXPECT_TRUE(outcome.ok()) << script << "\n" << outcome.stderr_text;
  return outcome.stdout_text;
}

std::string Netns::Believes(const std::string& address) const {
  std::istringstream entry(Run("ip neigh show " + address));
  for (std::string word; entry >> word;) {
    if (word == "lladdr" && entry >> word) {
      return word;
    }
  }
  return {};
}

int Netns::ExitCode(const std::string& script) const { return RunIn(fd_, script).exit_code; }

void WaitForPort(const Netns& bridge, const std::string& port) {
  bridge.Run("for i in $(seq 500); do ip -d link show " + port +
             " | grep -q 'state forwarding' && exit 0; sleep 0.01; done; exit 1");
}

bool Soon(const std::function<bool()>& found) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!found()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string Six(const std::string& four) {
  if (four.empty() || IsSix(four)) {
    return four;
  }
  if (four == "0.0.0.0") {
    return "::";
  }
  if (four.starts_with("127.")) {
    return "::1";
  }
  const auto last = four.substr(four.rfind('.') + 1);
  return (four.starts_with("10.77.") ? "fd00:10:77::" : "fd00:172:17::") + last;
}

Lan::Lan() { switch_.Run("ip link add br0 type bridge; ip link set br0 up"); }

void Lan::Attach(const Netns& host, const std::string& address) {
  std::string port = "port" + std::to_string(++ports_);
  switch_.Run("ip link add " + port + " type veth peer name eth0 netns " + host.Path() +
              "; ip link set " + port + " master br0 up");
  host.Run("ip addr add " + address + "/24 dev eth0; ip addr add " + Six(address) +
           "/64 dev eth0 nodad; ip link set eth0 up");
  WaitForPort(switch_, port);
}

DockerHost::DockerHost(Lan& lan, const std::string& host_address) : address(host_address) {
  lan.Attach(netns, address);
  netns.Run(R"(
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link add docker0 address 02:42:00:00:00:01 type bridge
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip addr add 172.17.0.1/16 dev docker0; ip addr add fd00:172:17::1/64 dev docker0 nodad
    ip link set docker0 up
    iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
    iptables -N DOCKER; iptables -A FORWARD -j DOCKER-USER
    iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -A FORWARD -o docker0 -j DOCKER
    iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
    iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT
    iptables -t nat -N DOCKER
    iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
    iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
    iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
  )");
}

void DockerHost::FilterIpv6() {
  filters_ipv6_ = true;
  netns.Run(R"(
    ip6tables -P FORWARD DROP; ip6tables -N DOCKER-USER; ip6tables -A DOCKER-USER -j RETURN
    ip6tables -N DOCKER; ip6tables -A FORWARD -j DOCKER-USER
    ip6tables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    ip6tables -A FORWARD -o docker0 -j DOCKER
    ip6tables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
    ip6tables -A FORWARD -i docker0 -o docker0 -j ACCEPT
    ip6tables -t nat -N DOCKER
    ip6tables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
    ip6tables -t nat -A OUTPUT ! -d ::1/128 -m addrtype --dst-type LOCAL -j DOCKER
    ip6tables -t nat -A POSTROUTING -s fd00:172:17::/64 ! -o docker0 -j MASQUERADE
  )");
}

std::unique_ptr<Netns> DockerHost::StartContainer(const std::string& container_address) {
  auto container = std::make_unique<Netns>();
  std::string port = "veth" + std::to_string(++containers_);
  netns.Run("ip link add " + port + " type veth peer name eth0 netns " + container->Path() +
            "; ip link set " + port + " master docker0 up");
  container->Run("ip addr add " + container_address + "/16 dev eth0; ip addr add " +
                 Six(container_address) +
                 "/64 dev eth0 nodad; ip link set eth0 up; ip route add default via 172.17.0.1;"
                 "ip -6 route add default via fd00:172:17::1");
  WaitForPort(netns, port);
  ports_[container.get()] = port;
  return container;
}

void DockerHost::StopContainer(std::unique_ptr<Netns> container,
                               const std::string& container_address) {
  std::string port = ports_[container.get()];
  container.reset();
  netns.ExitCode("ip link del " + port);
  for (const char* side : {"-r ", "-q ", "-s "}) {
    netns.ExitCode(std::string("conntrack -D ") + side + container_address);
    netns.ExitCode(std::string("conntrack -D -f ipv6 ") + side + Six(container_address));
  }
}

void DockerHost::TrackBridged(bool on) {
  netns.Run(std::string("echo ") + (on ? "1" : "0") +
            " | tee /proc/sys/net/bridge/bridge-nf-call-iptables"
            " > /proc/sys/net/bridge/bridge-nf-call-ip6tables");
}

void DockerHost::Port(const char* action, const std::string& protocol, int host_port,
                      const std::string& container, int port) {
  std::string p = " -p " + protocol + " --dport ";
  if (filters_ipv6_ && !IsSix(container)) {
    Port(action, protocol, host_port, Six(container), port);
  }
  const std::string tool = IsSix(container) ? "ip6tables" : "iptables";
  const std::string to = IsSix(container) ? "[" + container + "]" : container;
  netns.Run(tool + " -t nat " + action + " DOCKER ! -i docker0" + p + std::to_string(host_port) +
            " -j DNAT --to " + to + ":" + std::to_string(port) + "; " + tool + " " + action +
            " DOCKER -d " + container + " ! -i docker0 -o docker0" + p + std::to_string(port) +
            " -j ACCEPT");
}

void DockerHost::Publish(const std::string& protocol, int host_port, const std::string& container,
                         int port) {
  Port("-A", protocol, host_port, container, port);
}

void DockerHost::Unpublish(const std::string& protocol, int host_port, const std::string& container,
                           int port) {
  Port("-D", protocol, host_port, container, port);
}

std::string DockerHost::SnapshotOf(const Netns& netns) {
  return netns.Run(
      "nft -s list ruleset; ip -o link | sed 's/state [A-Z]*//; s/<[^>]*>//'; ip -o -4 addr;"
      " ip rule; ip -4 route show table all | sed 's/ linkdown//'; ip neigh show nud permanent;"
      " ip -o -6 addr show scope global; ip -6 rule; ip -6 route show table all |"
      " sed 's/ linkdown//; s/ pref medium//' | grep -v -e fe80 -e cast || true");
}

OwnedFd TcpListen(FdRef netns, const std::string& address, int port) {
  return InsideNetns(netns, [&] {
    const auto at = MakeEndpoint(address, port);
    auto fd = OpenSocket(SOCK_STREAM, at.storage.ss_family);
    return bind(fd.get(), at.generic(), at.size) == 0 && listen(fd.get(), 16) == 0 ? std::move(fd)
                                                                                   : OwnedFd();
  });
}

OwnedFd TcpConnect(FdRef netns, const std::string& address, int port) {
  return InsideNetns(netns, [&] {
    const auto to = MakeEndpoint(address, port);
    auto fd = OpenSocket(SOCK_STREAM, to.storage.ss_family);
    return connect(fd.get(), to.generic(), to.size) == 0 ? std::move(fd) : OwnedFd();
  });
}

OwnedFd TcpAccept(const OwnedFd& listener) {
  OwnedFd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (fd) {
    timeval timeout{5, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  return fd;
}

OwnedFd UdpSocket(FdRef netns, const std::string& address, int port) {
  return InsideNetns(netns, [&] {
    const auto at = MakeEndpoint(address, port);
    auto fd = OpenSocket(SOCK_DGRAM, at.storage.ss_family);
    return bind(fd.get(), at.generic(), at.size) == 0 ? std::move(fd) : OwnedFd();
  });
}

bool ConnectUdp(const OwnedFd& socket, const std::string& address, int port) {
  const auto to = MakeEndpoint(address, port);
  return connect(socket.get(), to.generic(), to.size) == 0;
}

std::string LocalAddress(const OwnedFd& socket) { return LocalEnd(socket).address(); }
std::string PeerAddress(const OwnedFd& socket) { return RemoteEnd(socket).address(); }
int LocalPort(const OwnedFd& socket) { return LocalEnd(socket).port(); }

bool SendText(const OwnedFd& socket, const std::string& text) {
  return send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

std::string ReceiveText(const OwnedFd& socket, std::size_t size) {
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    auto got = recv(socket.get(), text.data() + done, size - done, 0);
    if (got <= 0) {
      break;
    }
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

bool Exchange(const OwnedFd& one, const OwnedFd& other) {
  static int count = 0;
  std::string text = "message " + std::to_string(++count);
  return SendText(one, text) && ReceiveText(other, text.size()) == text &&
         SendText(other, text + "!") && ReceiveText(one, text.size() + 1) == text + "!";
}

bool ExchangeBulk(const OwnedFd& one, const OwnedFd& other, std::size_t bytes) {
  std::string data(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) {
    data[i] = static_cast<char>(i * 131 + i / 4096);
  }
  auto sender = [&](const OwnedFd& socket) {
    for (std::size_t done = 0; done < bytes;) {
      auto sent = send(socket.get(), data.data() + done, bytes - done, MSG_NOSIGNAL);
      if (sent <= 0) {
        return;
      }
      done += static_cast<std::size_t>(sent);
    }
  };
  std::string at_one;
  std::thread send_one(sender, std::cref(one));
  std::thread send_other(sender, std::cref(other));
  std::thread receive_one([&] { at_one = ReceiveText(one, bytes); });
  std::string at_other = ReceiveText(other, bytes);
  for (auto* thread : {&send_one, &send_other, &receive_one}) {
    thread->join();
  }
  return at_one == data && at_other == data;
}

bool ExchangeUdp(const OwnedFd& client, const std::string& address, int port,
                 const OwnedFd& server) {
  const auto to = MakeEndpoint(address, port);
  sendto(client.get(), "ask", 3, 0, to.generic(), to.size);
  std::array<char, 16> buffer{};
  Endpoint from;
  if (recvfrom(server.get(), buffer.data(), buffer.size(), 0, from.generic(), &from.size) != 3) {
    return false;
  }
  sendto(server.get(), "answer", 6, 0, from.generic(), from.size);
  Endpoint answered;
  return recvfrom(client.get(), buffer.data(), buffer.size(), 0, answered.generic(),
                  &answered.size) == 6 &&
         answered.address() == to.address() && answered.port() == to.port();
}

bool Ping(FdRef netns, const std::string& address) {
  const bool six = IsSix(address);
  auto fd = InsideNetns(netns, [six] {
    return OwnedFd(socket(six ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC,
                          six ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP)));
  });
  CHECK(fd);
  timeval timeout{2, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  const auto to = MakeEndpoint(address, 0);
  // The same layout in both families; the kernel computes the checksum of ICMPv6.
  icmphdr request{};
  request.type = six ? std::uint8_t{128} : std::uint8_t{ICMP_ECHO};
  request.un.echo.id = getpid() & 0x7fff;
  request.checksum = static_cast<std::uint16_t>(~(ICMP_ECHO + request.un.echo.id));
  if (sendto(fd.get(), &request, sizeof request, 0, to.generic(), to.size) < 0) {
    return false;
  }
  std::array<char, 256> packet{};
  Endpoint from;
  while (recvfrom(fd.get(), packet.data(), packet.size(), 0, from.generic(), &from.size) > 0) {
    icmphdr reply;
    const auto header = six ? 0 : static_cast<std::size_t>(packet[0] & 0xf) * 4;
    std::memcpy(&reply, &packet[header], sizeof reply);
    if (reply.type == (six ? 129 : ICMP_ECHOREPLY) && reply.un.echo.id == request.un.echo.id) {
      return from.address() == to.address();
    }
    from.size = sizeof from.storage;
  }
  return false;
}

bool Reaches(FdRef netns, const std::string& address, int port) {
  const auto to = MakeEndpoint(address, port);
  auto fd = InsideNetns(netns, [&] { return OpenSocket(SOCK_STREAM, to.storage.ss_family); });
  timeval timeout{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  return connect(fd.get(), to.generic(), to.size) == 0;
}

AckFlood::AckFlood(FdRef netns, const OwnedFd& connection) {
  sockaddr_in local{};
  socklen_t size = sizeof local;
  CHECK(getsockname(connection.get(), Generic(local), &size) == 0);
  CHECK(getpeername(connection.get(), Generic(remote_), &size) == 0);
  raw_ = InsideNetns(netns,
                     [] { return OwnedFd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP)); });
  CHECK(raw_);
  std::memcpy(&segment_[0], &local.sin_port, 2);
  std::memcpy(&segment_[2], &remote_.sin_port, 2);
  segment_[4] = segment_[8] = 1;  // some sequence and acknowledgement number
  segment_[12] = 5 << 4;          // words of header
  segment_[13] = 0x10;            // ACK
  // Checksum over addresses, protocol, length and segment. A wrong one would end at the first host.
  std::uint32_t sum = IPPROTO_TCP + segment_.size();
  auto add = [&](const void* data, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 2) {
      std::uint16_t word;
      std::memcpy(&word, static_cast<const char*>(data) + i, 2);
      sum += ntohs(word);
    }
  };
  add(&local.sin_addr, 4);
  add(&remote_.sin_addr, 4);
  add(segment_.data(), segment_.size());
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  auto checksum = htons(static_cast<std::uint16_t>(~sum));
  std::memcpy(&segment_[16], &checksum, 2);
  remote_.sin_port = 0;
  thread_ = std::thread([this] {
    while (!stop_) {
      sent_ += sendto(raw_.get(), segment_.data(), segment_.size(), 0, Generic(remote_),
                      sizeof remote_) > 0;
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
}

AckFlood::~AckFlood() { CountResets(); }

int AckFlood::CountResets() {
  stop_ = true;
  if (thread_.joinable()) {
    thread_.join();
  }
  int resets = 0;
  std::array<std::uint8_t, 256> packet{};
  for (ssize_t size; (size = recv(raw_.get(), packet.data(), packet.size(), MSG_DONTWAIT)) > 0;) {
    std::size_t header = (packet[0] & 0xfU) * 4U;
    bool same = std::memcmp(&packet[header], &segment_[2], 2) == 0 &&
                std::memcmp(&packet[header + 2], &segment_[0], 2) == 0;
    resets += same && (packet[header + 13] & 0x04) != 0;
  }
  return resets;
}

TcpImage TakeTcp(OwnedFd socket) {
  TcpImage image;
  socklen_t size = sizeof image.local;
  CHECK(getsockname(socket.get(), Generic(image.local), &size) == 0);
  CHECK(getpeername(socket.get(), Generic(image.remote), &size) == 0);
  Set(socket, TCP_REPAIR, kRepairOn);
  auto info = Get<tcp_info>(socket, TCP_INFO);
  image.options = info.tcpi_options;
  image.send_scale = info.tcpi_snd_wscale;
  image.receive_scale = info.tcpi_rcv_wscale;
  image.mss = Get<int>(socket, TCP_MAXSEG);
  image.timestamp = Get<std::uint32_t>(socket, TCP_TIMESTAMP);
  auto window = Get<tcp_repair_window>(socket, TCP_REPAIR_WINDOW);
  image.window.assign(reinterpret_cast<char*>(&window), reinterpret_cast<char*>(&window + 1));
  auto take = [&](int queue, unsigned long request, std::string& data) {
    int bytes = 0;
    CHECK(ioctl(socket.get(), request, &bytes) == 0);
    Set(socket, TCP_REPAIR_QUEUE, queue);
    data.resize(static_cast<std::size_t>(bytes));
    if (bytes > 0) {
      CHECK(recv(socket.get(), data.data(), data.size(), MSG_PEEK | MSG_DONTWAIT) == bytes);
    }
    return Get<std::uint32_t>(socket, TCP_QUEUE_SEQ) - static_cast<std::uint32_t>(bytes);
  };
  image.receive_sequence = take(kReceiveQueue, SIOCINQ, image.receive_queue);
  image.send_sequence = take(kSendQueue, SIOCOUTQ, image.send_queue);
  return image;
}

OwnedFd RestoreTcp(FdRef netns, const TcpImage& image) {
  auto socket = InsideNetns(netns, [&] { return OpenSocket(SOCK_STREAM, image.local.ss_family); });
  Set(socket, TCP_REPAIR, kRepairOn);
  Set(socket, TCP_REPAIR_QUEUE, kReceiveQueue);
  Set(socket, TCP_QUEUE_SEQ, image.receive_sequence);
  Set(socket, TCP_REPAIR_QUEUE, kSendQueue);
  Set(socket, TCP_QUEUE_SEQ, image.send_sequence);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&image.local), sizeof image.local) !=
          0 ||
      connect(socket.get(), reinterpret_cast<const sockaddr*>(&image.remote),
              sizeof image.remote) != 0) {
    ADD_FAILURE() << "restore of a socket: " << std::strerror(errno);
    return {};
  }
  std::vector<tcp_repair_opt> options;
  options.push_back({kMaxSegmentOption, static_cast<__u32>(image.mss)});
  if (image.options & TCPI_OPT_WSCALE) {
    options.push_back({kWindowOption, image.send_scale | (__u32{image.receive_scale} << 16)});
  }
  if (image.options & TCPI_OPT_SACK) {
    options.push_back({kSackPermittedOption, 0});
  }
  if (image.options & TCPI_OPT_TIMESTAMPS) {
    options.push_back({kTimestampOption, 0});
  }
  CHECK(setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(),
                   static_cast<socklen_t>(options.size() * sizeof options[0])) == 0);
  Set(socket, TCP_TIMESTAMP, image.timestamp);
  auto put = [&](int queue, const std::string& data) {
    Set(socket, TCP_REPAIR_QUEUE, queue);
    if (!data.empty()) {
      CHECK(send(socket.get(), data.data(), data.size(), 0) == static_cast<ssize_t>(data.size()));
    }
  };
  put(kReceiveQueue, image.receive_queue);
  put(kSendQueue, image.send_queue);
  tcp_repair_window window;
  std::memcpy(&window, image.window.data(), sizeof window);
  Set(socket, TCP_REPAIR_WINDOW, window);
  Set(socket, TCP_REPAIR, kRepairOff);
  int on = 1;  // repair mode switched it off
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return socket;
}

}  // namespace migrate::testing
