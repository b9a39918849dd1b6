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
const sockaddr* Generic(const sockaddr_in& in) { return reinterpret_cast<const sockaddr*>(&in); }

OwnedFd OpenSocket(int type) {
  OwnedFd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  CHECK(fd);
  timeval timeout{5, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
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
  Run("ip link set lo up");
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

Lan::Lan() { switch_.Run("ip link add br0 type bridge; ip link set br0 up"); }

void Lan::Attach(const Netns& host, const std::string& address) {
  std::string port = "port" + std::to_string(++ports_);
  switch_.Run("ip link add " + port + " type veth peer name eth0 netns " + host.Path() +
              "; ip link set " + port + " master br0 up");
  host.Run("ip addr add " + address + "/24 dev eth0; ip link set eth0 up");
}

DockerHost::DockerHost(Lan& lan, const std::string& host_address) : address(host_address) {
  lan.Attach(netns, address);
  netns.Run(R"(
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link add docker0 address 02:42:00:00:00:01 type bridge
    ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
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

std::unique_ptr<Netns> DockerHost::StartContainer(const std::string& container_address) {
  auto container = std::make_unique<Netns>();
  std::string port = "veth" + std::to_string(++containers_);
  netns.Run("ip link add " + port + " type veth peer name eth0 netns " + container->Path() +
            "; ip link set " + port + " master docker0 up");
  container->Run("ip addr add " + container_address +
                 "/16 dev eth0; ip link set eth0 up; ip route add default via 172.17.0.1");
  // Until the link watcher has seen its carrier, the port drops frames.
  netns.Run("for i in $(seq 200); do ip -d link show " + port +
            " | grep -q 'state forwarding' && exit 0; sleep 0.01; done; exit 1");
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
  }
}

void DockerHost::TrackBridged(bool on) {
  netns.Run(std::string("echo ") + (on ? "1" : "0") +
            " > /proc/sys/net/bridge/bridge-nf-call-iptables");
}

void DockerHost::Port(const char* action, const std::string& protocol, int host_port,
                      const std::string& container, int port) {
  std::string p = " -p " + protocol + " --dport ";
  netns.Run(std::string("iptables -t nat ") + action + " DOCKER ! -i docker0" + p +
            std::to_string(host_port) + " -j DNAT --to " + container + ":" + std::to_string(port) +
            "; iptables " + action + " DOCKER -d " + container + " ! -i docker0 -o docker0" + p +
            std::to_string(port) + " -j ACCEPT");
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
      " ip rule; ip -4 route show table all | sed 's/ linkdown//'; ip neigh show nud permanent");
}

OwnedFd TcpListen(FdRef netns, const std::string& address, int port) {
  return InsideNetns(netns, [&] {
    auto fd = OpenSocket(SOCK_STREAM);
    auto in = Ipv4(address, port);
    return bind(fd.get(), Generic(in), sizeof in) == 0 && listen(fd.get(), 16) == 0 ? std::move(fd)
                                                                                    : OwnedFd();
  });
}

OwnedFd TcpConnect(FdRef netns, const std::string& address, int port) {
  return InsideNetns(netns, [&] {
    auto fd = OpenSocket(SOCK_STREAM);
    auto in = Ipv4(address, port);
    return connect(fd.get(), Generic(in), sizeof in) == 0 ? std::move(fd) : OwnedFd();
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
    auto fd = OpenSocket(SOCK_DGRAM);
    auto in = Ipv4(address, port);
    return bind(fd.get(), Generic(in), sizeof in) == 0 ? std::move(fd) : OwnedFd();
  });
}

std::string LocalAddress(const OwnedFd& socket) {
  sockaddr_in in{};
  socklen_t size = sizeof in;
  getsockname(socket.get(), Generic(in), &size);
  std::array<char, INET_ADDRSTRLEN> text{};
  return inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
}

std::string PeerAddress(const OwnedFd& socket) {
  sockaddr_in in{};
  socklen_t size = sizeof in;
  getpeername(socket.get(), Generic(in), &size);
  std::array<char, INET_ADDRSTRLEN> text{};
  return inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
}

int LocalPort(const OwnedFd& socket) {
  sockaddr_in in{};
  socklen_t size = sizeof in;
  getsockname(socket.get(), Generic(in), &size);
  return ntohs(in.sin_port);
}

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
  auto to = Ipv4(address, port);
  sendto(client.get(), "ask", 3, 0, Generic(to), sizeof to);
  std::array<char, 16> buffer{};
  sockaddr_in from{};
  socklen_t size = sizeof from;
  if (recvfrom(server.get(), buffer.data(), buffer.size(), 0, Generic(from), &size) != 3) {
    return false;
  }
  sendto(server.get(), "answer", 6, 0, Generic(from), sizeof from);
  sockaddr_in answered{};
  size = sizeof answered;
  return recvfrom(client.get(), buffer.data(), buffer.size(), 0, Generic(answered), &size) == 6 &&
         answered.sin_addr.s_addr == to.sin_addr.s_addr && answered.sin_port == to.sin_port;
}

bool Ping(FdRef netns, const std::string& address) {
  auto fd = InsideNetns(
      netns, [] { return OwnedFd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP)); });
  CHECK(fd);
  timeval timeout{2, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  auto to = Ipv4(address, 0);
  icmphdr request{};
  request.type = ICMP_ECHO;
  request.un.echo.id = getpid() & 0x7fff;
  request.checksum = static_cast<std::uint16_t>(~(ICMP_ECHO + request.un.echo.id));
  if (sendto(fd.get(), &request, sizeof request, 0, Generic(to), sizeof to) < 0) {
    return false;
  }
  std::array<char, 256> packet{};
  sockaddr_in from{};
  socklen_t size = sizeof from;
  while (recvfrom(fd.get(), packet.data(), packet.size(), 0, Generic(from), &size) > 0) {
    icmphdr reply;
    std::memcpy(&reply, &packet[static_cast<std::size_t>(packet[0] & 0xf) * 4], sizeof reply);
    if (reply.type == ICMP_ECHOREPLY && reply.un.echo.id == request.un.echo.id) {
      return from.sin_addr.s_addr == to.sin_addr.s_addr;
    }
  }
  return false;
}

bool Reaches(FdRef netns, const std::string& address, int port) {
  auto fd =
      InsideNetns(netns, [] { return OwnedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
  timeval timeout{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  auto to = Ipv4(address, port);
  return connect(fd.get(), Generic(to), sizeof to) == 0;
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
  auto socket = InsideNetns(netns, [] { return OpenSocket(SOCK_STREAM); });
  Set(socket, TCP_REPAIR, kRepairOn);
  Set(socket, TCP_REPAIR_QUEUE, kReceiveQueue);
  Set(socket, TCP_QUEUE_SEQ, image.receive_sequence);
  Set(socket, TCP_REPAIR_QUEUE, kSendQueue);
  Set(socket, TCP_QUEUE_SEQ, image.send_sequence);
  if (bind(socket.get(), Generic(image.local), sizeof image.local) != 0 ||
      connect(socket.get(), Generic(image.remote), sizeof image.remote) != 0) {
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
