#include "migrated/network/address_move.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "migrated/network/in_netns.h"
#include "migrated/network/sockets.h"
#include "migrated/network/test_world.h"

namespace migrate {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Exchange;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Netns;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kId[] = "00112233445566aa";
constexpr char kOtherId[] = "00112233445566bb";
constexpr int kPort = 6379;

// The addresses of the test's world in one family.
struct Plan {
  const char* name;
  int family;
  const char* ip;        // the command
  const char* iptables;  // the command
  const char* host_bits;
  const char* bridge_subnet;
  const char* gateway;
  const char* container;
  const char* neighbour;
  const char* other;  // a second container that moves
  const char* lan_subnet;
  const char* a;
  const char* b;
  const char* router;
  const char* client_subnet;
  const char* client_gateway;
  const char* client;
  const char* any;
};
void PrintTo(const Plan& plan, std::ostream* out) { *out << plan.name; }
constexpr Plan kV4{
    "v4",         AF_INET,       "ip -4",        "iptables",    "/32",          "172.30.0.0/16",
    "172.30.0.1", "172.30.0.5",  "172.30.0.7",   "172.30.0.6",  "10.77.0.0/24", "10.77.0.1",
    "10.77.0.2",  "10.77.0.254", "10.99.0.0/24", "10.99.0.254", "10.99.0.9",    "0.0.0.0"};
constexpr Plan kV6{"v6",      AF_INET6,    "ip -6",     "ip6tables", "/128",      "fd30::/64",
                   "fd30::1", "fd30::5",   "fd30::7",   "fd30::6",   "fd77::/64", "fd77::1",
                   "fd77::2", "fd77::254", "fd99::/64", "fd99::254", "fd99::9",   "::"};

std::string Length(const char* subnet) {
  return std::string(subnet).substr(std::string(subnet).find('/'));
}

// --- sockets of either family ---

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;
  Endpoint(const std::string& address, int port) {
    auto* four = reinterpret_cast<sockaddr_in*>(&storage);
    auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
    if (inet_pton(AF_INET, address.c_str(), &four->sin_addr) == 1) {
      four->sin_family = AF_INET;
      four->sin_port = htons(static_cast<std::uint16_t>(port));
      size = sizeof *four;
    } else {
      inet_pton(AF_INET6, address.c_str(), &six->sin6_addr);
      six->sin6_family = AF_INET6;
      six->sin6_port = htons(static_cast<std::uint16_t>(port));
      size = sizeof *six;
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

OwnedFd Open(FdRef netns, const Endpoint& endpoint, bool listens, const std::string& from = {}) {
  auto made = ValueInNetns<OwnedFd>(netns, [&]() -> Result<OwnedFd> {
    OwnedFd fd(socket(endpoint.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval timeout{5, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!from.empty()) {
      Endpoint local(from, 0);
      EXPECT_EQ(bind(fd.get(), local.get(), local.size), 0);
    }
    bool ready =
        listens ? bind(fd.get(), endpoint.get(), endpoint.size) == 0 && listen(fd.get(), 16) == 0
                : connect(fd.get(), endpoint.get(), endpoint.size) == 0;
    return ready ? std::move(fd) : OwnedFd();
  });
  return *std::move(made);
}

// Duplicate address detection would keep the test waiting.
struct Machine : Netns {
  Machine() { Run("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"); }
};

// --- hosts with Docker's rules on a LAN with a router, behind which a client is ---

class Host {
 public:
  explicit Host(const std::string& bridge_mac) {
    netns.Run("ip link add br0 address " + bridge_mac +
              " type bridge; ip link set br0 up; echo 1 > /proc/sys/net/ipv4/ip_forward;"
              " echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    for (const auto& plan : {kV4, kV6}) {
      netns.Run(std::string(plan.ip) + " addr add " + plan.gateway + Length(plan.bridge_subnet) +
                " dev br0 " + (plan.family == AF_INET6 ? "nodad" : ""));
      const std::string t = plan.iptables;
      netns.Run(t + " -P FORWARD DROP; " + t + " -N DOCKER-USER; " + t +
                " -A DOCKER-USER -j RETURN; " + t + " -A FORWARD -j DOCKER-USER; " + t +
                " -A FORWARD -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; " + t +
                " -A FORWARD -i br0 ! -o br0 -j ACCEPT; " + t +
                " -A FORWARD -i br0 -o br0 -j ACCEPT; " + t + " -t nat -A POSTROUTING -s " +
                plan.bridge_subnet + " ! -o br0 -j MASQUERADE");
    }
  }

  // What Docker 28 does when a container starts: nobody from outside reaches it.
  void Shield(const Plan& plan, const std::string& address) {
    netns.Run(std::string(plan.iptables) + " -t raw -A PREROUTING -d " + address +
              " ! -i br0 -j DROP");
  }

  void Plug(const Netns& container, const std::vector<std::string>& addresses) {
    std::string port = "veth" + std::to_string(++ports_);
    netns.Run("ip link add " + port + " type veth peer name eth0 netns " + container.Path() +
              "; ip link set " + port + " master br0 up");
    container.Run("ip link set eth0 up");
    testing::WaitForPort(netns, port);
    for (const auto& plan : {kV4, kV6}) {
      container.Run(std::string(plan.ip) + " addr add " +
                    addresses[plan.family == AF_INET ? 0 : 1] + Length(plan.bridge_subnet) +
                    " dev eth0" + (plan.family == AF_INET6 ? " nodad; " : "; ") + plan.ip +
                    " route add default via " + plan.gateway);
    }
  }

  std::string Snapshot() const {
    return netns.Run(
        "nft -s list ruleset; ip -4 route; ip -6 route | grep -v ^fe80; ip neigh show proxy;"
        " ip -6 neigh show proxy; cat /proc/sys/net/ipv4/neigh/br0/proxy_delay"
        " /proc/sys/net/ipv6/neigh/br0/proxy_delay /proc/sys/net/ipv6/conf/br0/proxy_ndp");
  }

  Machine netns;

 private:
  int ports_ = 0;
};

class World {
 public:
  World() {
    lan_.Run("ip link add br0 type bridge; ip link set br0 up");
    Attach(a.netns, "host_a", kV4.a, kV6.a);
    Attach(b.netns, "host_b", kV4.b, kV6.b);
    Attach(router_, "router", kV4.router, kV6.router);
    router_.Run("ip link add client type veth peer name eth0 netns " + client.Path() +
                "; ip link set client up; echo 1 > /proc/sys/net/ipv4/ip_forward;"
                " echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    client.Run("ip link set eth0 up");
    for (const auto& plan : {kV4, kV6}) {
      const std::string nodad = plan.family == AF_INET6 ? " nodad" : "";
      const std::string ip = plan.ip;
      router_.Run(ip + " addr add " + plan.client_gateway + Length(plan.client_subnet) +
                  " dev client" + nodad + "; " + ip + " route add " + plan.bridge_subnet + " via " +
                  plan.a);
      client.Run(ip + " addr add " + plan.client + Length(plan.client_subnet) + " dev eth0" +
                 nodad + "; " + ip + " route add default via " + plan.client_gateway);
      for (auto* host : {&a, &b}) {
        host->netns.Run(ip + " route add default via " + plan.router);
      }
    }
  }

  void Attach(const Netns& machine, const std::string& port, const std::string& four,
              const std::string& six) {
    lan_.Run("ip link add " + port + " type veth peer name eth0 netns " + machine.Path() +
             "; ip link set " + port + " master br0 up");
    machine.Run("ip addr add " + four + "/24 dev eth0; ip addr add " + six +
                "/64 dev eth0 nodad; ip link set eth0 up");
    testing::WaitForPort(lan_, port);
  }

  Host a{"02:42:00:00:00:0a"};
  Host b{"02:42:00:00:00:0b"};
  Machine client;

 private:
  Netns lan_;
  Machine router_;
};

class AddressMoveTest : public ::testing::TestWithParam<Plan> {
 protected:
  AddressMoveTest() : plan(GetParam()) {
    world.a.Plug(container, {kV4.container, kV6.container});
    world.a.Plug(neighbour, {kV4.neighbour, kV6.neighbour});
    // At first the admin lets clients reach the container, as one does who routes to its address.
    world.a.netns.Run(std::string(plan.iptables) + " -I DOCKER-USER -d " + plan.container +
                      " -j ACCEPT");
    world.a.Shield(plan, plan.neighbour);
    listener = Open(container, {plan.any, kPort}, true);
  }

  struct Pair {
    OwnedFd peer;
    OwnedFd inside;
  };
  Pair Connect(const Netns& from, const std::string& source = {}) {
    Pair pair;
    pair.peer = Open(from, {plan.container, kPort}, false, source);
    pair.inside = testing::TcpAccept(listener);
    EXPECT_TRUE(pair.peer && pair.inside);
    return pair;
  }

  AddressRoute Route() {
    return {.id = kId,
            .addresses = {plan.container},
            .bridge = "br0",
            .target_host = {kV4.b, kV6.b},
            .own = {kV4.a, kV6.a},
            .host_connections = host_connections};
  }
  AddressTarget Target() {
    std::vector<Connection> connections;
    auto listed = ListSockets(container);
    for (const auto& socket : *listed) {
      if (socket.state == SocketState::kEstablished) {
        connections.push_back(socket.connection());
      }
    }
    return {.id = kId,
            .addresses = {plan.container},
            .bridge = "br0",
            .source_host = {kV4.a, kV6.a},
            .connections = connections,
            .host_connections = host_connections,
            .neighbours = {plan.neighbour}};
  }

  // The namespace stays and with it the sockets; from A's bridge to B's.
  void Unplug(const char* port = "veth1") { world.a.netns.Run(std::string("ip link del ") + port); }
  void PlugAtB() { world.b.Plug(container, {kV4.container, kV6.container}); }

  Result<> SetUpAddressRoute(FdRef netns, const AddressRoute& route) {
    TRY(PrepareAddressRoute(netns, route));
    return SwitchAddressRoute(netns, route);
  }

  void Move() {
    auto target = Target();
    auto own = OwnAddressToward(world.a.netns, {kV4.b, kV6.b});
    ASSERT_TRUE(own);
    EXPECT_EQ(*own, (HostAddress{kV4.a, kV6.a}));
    auto found = ConnectionsWithHost(world.a.netns, *own, target.connections);
    ASSERT_TRUE(found);
    host_connections = *found;
    Unplug();
    PlugAtB();
    world.b.Shield(plan, plan.container);
    target = Target();
    EXPECT_TRUE(IsOk(PrepareAddressTarget(world.b.netns, target)));
    EXPECT_TRUE(IsOk(SetUpAddressRoute(world.a.netns, Route())));
    EXPECT_TRUE(IsOk(ActivateAddressTarget(world.b.netns, target)));
    EXPECT_TRUE(IsOk(AnnounceAddressTarget(world.b.netns, container, "eth0", target)));
  }

  // First what the container says: that is what must not be masqueraded.
  ::testing::AssertionResult Lives(const Pair& pair) {
    if (!Exchange(pair.inside, pair.peer)) {
      return ::testing::AssertionFailure() << "the container's words";
    }
    if (!Exchange(pair.peer, pair.inside)) {
      return ::testing::AssertionFailure() << "the peer's words";
    }
    return testing::ExchangeBulk(pair.peer, pair.inside, 1 << 20)
               ? ::testing::AssertionSuccess()
               : ::testing::AssertionFailure() << "bulk";
  }

  Plan plan;
  World world;
  Machine container;
  Machine neighbour;
  OwnedFd listener;
  std::vector<Connection> host_connections;
};

INSTANTIATE_TEST_SUITE_P(Families, AddressMoveTest, ::testing::Values(kV4, kV6),
                         [](const auto& test) { return test.param.name; });

TEST_P(AddressMoveTest, ClientBehindARouter) {
  auto pair = Connect(world.client);
  Move();
  EXPECT_TRUE(Lives(pair));
  // New ones as well; the container sees the client's own address.
  auto fresh = Connect(world.client);
  EXPECT_TRUE(Lives(fresh));
  auto sockets = ListSockets(container);
  EXPECT_THAT(*sockets, Contains(AllOf(Field(&SocketInfo::remote_address, plan.client),
                                       Field(&SocketInfo::local_port, kPort))));
  // What the container opens is masqueraded, as ever.
  auto outside = Open(world.client, {plan.any, 80}, true);
  auto out = Open(container, {plan.client, 80}, false);
  auto in = testing::TcpAccept(outside);
  ASSERT_TRUE(in);
  EXPECT_TRUE(Exchange(out, in));
  EXPECT_THAT(*ListSockets(world.client), Contains(AllOf(Field(&SocketInfo::remote_address, plan.b),
                                                         Field(&SocketInfo::local_port, 80))));
}

TEST_P(AddressMoveTest, ClientOnTheOldHost) {
  // Its address on the bridge, which is the gateway's at both hosts.
  auto by_gateway = Connect(world.a.netns);
  auto by_lan = Connect(world.a.netns, plan.a);
  Move();
  EXPECT_THAT(host_connections, ElementsAre(Field(&Connection::remote_address, plan.gateway)));
  EXPECT_TRUE(Lives(by_gateway));
  EXPECT_TRUE(Lives(by_lan));
  EXPECT_TRUE(Lives(Connect(world.a.netns)));
  // Docker deletes all entries of the address when the old container is gone.
  EXPECT_TRUE(IsOk(DeleteConntrackOf(world.a.netns, plan.container)));
  EXPECT_TRUE(Lives(by_gateway));
}

TEST_P(AddressMoveTest, NeighbourOnTheOldBridge) {
  auto pair = Connect(neighbour);
  Move();
  EXPECT_TRUE(Lives(pair));
  auto fresh = Connect(neighbour);
  EXPECT_TRUE(Lives(fresh));
  EXPECT_THAT(*ListSockets(container),
              Contains(Field(&SocketInfo::remote_address, plan.neighbour)));
  // The other way round too.
  auto inside = Open(neighbour, {plan.any, 80}, true);
  auto out = Open(container, {plan.neighbour, 80}, false);
  auto in = testing::TcpAccept(inside);
  ASSERT_TRUE(in);
  EXPECT_TRUE(Exchange(out, in));
  EXPECT_TRUE(IsOk(AnnounceAddressRoute(world.a.netns, Route())));
}

TEST_P(AddressMoveTest, NoRedirects) {
  // A client that the old host could send to the new one directly, until the next move.
  Machine near_client;
  world.Attach(near_client, "near", "10.77.0.9", "fd77::9");
  near_client.Run(std::string(plan.ip) + " route add " + plan.bridge_subnet + " via " + plan.a);
  auto pair = Connect(near_client);
  Move();
  EXPECT_TRUE(Lives(pair));
  EXPECT_THAT(near_client.Run(std::string(plan.ip) + " route get " + plan.container),
              HasSubstr(std::string("via ") + plan.a + " "));
}

TEST_P(AddressMoveTest, ThereAndBackAgain) {
  auto pair = Connect(world.client);
  auto near = Connect(neighbour);
  auto local = Connect(world.a.netns);
  const auto a_before = world.a.Snapshot();
  Move();
  EXPECT_TRUE(Lives(pair) && Lives(near) && Lives(local));
  // A fresh process would find it by name alone.
  auto at_a = FindAddressRoutes(world.a.netns);
  ASSERT_TRUE(at_a) << at_a.error().message;
  auto expected = Route();
  expected.own = {};
  expected.host_connections.clear();
  EXPECT_THAT(at_a->routes, ElementsAre(expected));
  EXPECT_THAT(FindAddressRoutes(world.b.netns)->targets, ElementsAre(kId));

  world.b.netns.Run("ip link del veth1");
  world.a.Plug(container, {kV4.container, kV6.container});
  AddressTarget home = Target();
  home.source_host = {kV4.b, kV6.b};
  home.neighbours = {};
  home.host_connections.clear();
  EXPECT_TRUE(IsOk(PrepareAddressTarget(world.a.netns, home)));
  // To abort leaves the route as it was.
  EXPECT_TRUE(IsOk(RemoveAddressTarget(world.a.netns, kId)));
  EXPECT_THAT(FindAddressRoutes(world.a.netns)->routes, SizeIs(1));
  EXPECT_TRUE(IsOk(PrepareAddressTarget(world.a.netns, home)));
  EXPECT_TRUE(IsOk(ActivateAddressTarget(world.a.netns, home)));
  EXPECT_TRUE(IsOk(AnnounceAddressTarget(world.a.netns, container, "eth0", home)));
  EXPECT_THAT(FindAddressRoutes(world.a.netns)->routes, IsEmpty());
  EXPECT_TRUE(Lives(pair) && Lives(near) && Lives(local));
  EXPECT_TRUE(IsOk(RemoveAddressTarget(world.a.netns, kId)));
  EXPECT_EQ(world.a.Snapshot(), a_before);
}

TEST_P(AddressMoveTest, UndoLeavesNothing) {
  const auto a_before = world.a.Snapshot();
  const auto b_before = world.b.Snapshot();
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_TRUE(IsOk(PrepareAddressTarget(world.b.netns, Target())));
    EXPECT_TRUE(IsOk(SetUpAddressRoute(world.a.netns, Route())));
  }
  EXPECT_NE(world.a.Snapshot(), a_before);
  EXPECT_NE(world.b.Snapshot(), b_before);
  // iptables must be able to read what is in its chains.
  EXPECT_THAT(world.a.netns.Run(std::string(plan.iptables) + "-save -t filter"),
              HasSubstr(std::string("-A DOCKER-USER -d ") + plan.container + plan.host_bits +
                        " -m comment --comment migrate_addr_" + kId + " -j ACCEPT"));
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_TRUE(IsOk(RemoveAddressRoute(world.a.netns, kId)));
    EXPECT_TRUE(IsOk(RemoveAddressTarget(world.b.netns, kId)));
  }
  EXPECT_EQ(world.a.Snapshot(), a_before);
  EXPECT_EQ(world.b.Snapshot(), b_before);
  EXPECT_TRUE(FindAddressRoutes(world.a.netns)->empty());
}

TEST_P(AddressMoveTest, TwoMovesOnOneBridge) {
  const auto before = world.b.Snapshot();
  auto one = Target();
  one.neighbours = {plan.neighbour, plan.other};
  auto two = one;
  two.id = kOtherId;
  two.addresses = {plan.other};
  two.neighbours = {plan.neighbour};
  two.connections.clear();
  EXPECT_TRUE(IsOk(PrepareAddressTarget(world.b.netns, one)));
  auto route_to = [&](const char* address) {
    return world.b.netns.Run(std::string(plan.ip) + " route show " + address);
  };
  EXPECT_THAT(route_to(plan.other), HasSubstr(plan.a));
  EXPECT_TRUE(IsOk(PrepareAddressTarget(world.b.netns, two)));
  // The second one has come after the first.
  EXPECT_TRUE(IsOk(ActivateAddressTarget(world.b.netns, two)));
  EXPECT_EQ(route_to(plan.other), "");
  EXPECT_THAT(route_to(plan.neighbour), HasSubstr(plan.a));
  EXPECT_TRUE(IsOk(RemoveAddressTarget(world.b.netns, kId)));
  EXPECT_THAT(route_to(plan.neighbour), HasSubstr(plan.a));
  EXPECT_THAT(world.b.Snapshot(), Not(HasSubstr(kId)));
  EXPECT_EQ(world.b.netns.Run("cat /proc/sys/net/ipv6/conf/br0/proxy_ndp"), "1\n");
  EXPECT_TRUE(IsOk(RemoveAddressTarget(world.b.netns, kOtherId)));
  EXPECT_EQ(world.b.Snapshot(), before);
}

TEST_P(AddressMoveTest, SharedSegment) {
  // The two bridges become one segment; a client is on it, at A's side.
  world.a.netns.Run("ip link add up0 type veth peer name up0 netns " + world.b.netns.Path() +
                    "; ip link set up0 up");
  EXPECT_FALSE(*SharedL2(world.a.netns, "br0"));
  EXPECT_FALSE(*SharedL2(world.b.netns, "br0"));
  world.a.netns.Run("ip link set up0 master br0");
  world.b.netns.Run("ip link set up0 master br0 up");
  EXPECT_TRUE(*SharedL2(world.a.netns, "br0"));
  EXPECT_TRUE(*SharedL2(world.b.netns, "br0"));
  auto pair = Connect(neighbour);
  ASSERT_TRUE(Exchange(pair.peer, pair.inside));
  auto target = Target();
  target.neighbours = {};
  Unplug();
  world.b.Plug(container, {kV4.container, kV6.container});
  EXPECT_TRUE(IsOk(PrepareAddressTarget(world.b.netns, target)));
  EXPECT_TRUE(IsOk(ActivateAddressTarget(world.b.netns, target)));
  auto known = [&] {
    return neighbour.Run(std::string(plan.ip) + " neigh show " + plan.container);
  };
  EXPECT_THAT(known(), Not(HasSubstr(container.Mac("eth0"))));
  EXPECT_TRUE(IsOk(AnnounceAddressTarget(world.b.netns, container, "eth0", target)));
  EXPECT_THAT(known(), HasSubstr(container.Mac("eth0")));
  EXPECT_TRUE(Lives(pair));
}

TEST_P(AddressMoveTest, NeighboursAtTheTargetAreTold) {
  Machine near;
  world.b.Plug(near, {"172.30.0.9", "fd30::9"});
  // As this host answered for the address until now.
  near.Run(std::string(plan.ip) + " neigh replace " + plan.container +
           " lladdr 02:42:00:00:00:0b nud reachable dev eth0");
  auto known = [&] { return near.Run(std::string(plan.ip) + " neigh show " + plan.container); };
  Move();
  EXPECT_THAT(known(), HasSubstr(container.Mac("eth0")));
}

TEST_P(AddressMoveTest, TheBridgeAnnouncesToo) {
  world.a.netns.Run("ip link add up0 type veth peer name up0 netns " + world.b.netns.Path() +
                    "; ip link set up0 master br0 up");
  world.b.netns.Run("ip link set up0 master br0 up");
  neighbour.Run(std::string(plan.ip) + " neigh replace " + plan.container +
                " lladdr 02:42:00:00:00:0c nud reachable dev eth0");
  auto target = Target();
  Unplug();
  PlugAtB();
  // As with a bridge that learns the topology before it lets a new port through.
  world.b.netns.Run("bridge link set dev veth1 state listening");
  EXPECT_TRUE(IsOk(AnnounceAddressTarget(world.b.netns, container, "eth0", target)));
  EXPECT_THAT(neighbour.Run(std::string(plan.ip) + " neigh show " + plan.container),
              HasSubstr(container.Mac("eth0")));
}

TEST_P(AddressMoveTest, Blockers) {
  auto codes = [&](const Host& host, const HostAddress& other) {
    auto blockers = AddressRouteBlockers(host.netns, {plan.container}, other);
    EXPECT_TRUE(blockers);
    std::vector<std::string> list;
    for (const auto& blocker : *blockers) {
      list.push_back(blocker.code);
    }
    return list;
  };
  EXPECT_THAT(codes(world.a, {kV4.b, kV6.b}), IsEmpty());
  EXPECT_THAT(codes(world.a, {kV4.client, kV6.client}), ElementsAre("ADDRESS_NEXT_HOP"));
  EXPECT_THAT(codes(world.a, {kV4.a, kV6.a}), ElementsAre("ADDRESS_NEXT_HOP"));
  EXPECT_THAT(codes(world.a, {}), ElementsAre("ADDRESS_NEXT_HOP"));
  auto route = Route();
  route.target_host = {kV4.client, kV6.client};
  EXPECT_EQ(SetUpAddressRoute(world.a.netns, route).error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(IsOk(RemoveAddressRoute(world.a.netns, kId)));
  world.a.netns.Run(
      "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
  EXPECT_THAT(codes(world.a, {kV4.b, kV6.b}), SizeIs(1));
  EXPECT_EQ(SetUpAddressRoute(world.a.netns, Route()).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(FindAddressRoutes(world.a.netns)->empty());
}

TEST(AddressMoveInput, Refused) {
  Netns netns;
  AddressRoute route{.id = kId,
                     .addresses = {"172.30.0.5"},
                     .bridge = "br0",
                     .target_host = {"10.77.0.2", ""},
                     .own = {},
                     .host_connections = {}};
  auto code = [&](const AddressRoute& wrong) {
    auto done = PrepareAddressRoute(netns, wrong);
    return done ? "none" : ErrorCodeName(done.error().code);
  };
  const auto invalid = ErrorCodeName(ErrorCode::kInvalidArgument);
  auto wrong = route;
  wrong.id = "1; drop";
  EXPECT_EQ(code(wrong), invalid);
  wrong = route;
  wrong.addresses = {"172.30.0.5/16"};
  EXPECT_EQ(code(wrong), invalid);
  wrong = route;
  wrong.addresses = {"fd30::5"};  // without a next hop of the family
  EXPECT_EQ(code(wrong), invalid);
  wrong = route;
  wrong.bridge = "a\"; b";
  EXPECT_EQ(code(wrong), invalid);
  wrong = route;
  wrong.target_host.v6 = "10.77.0.2";
  EXPECT_EQ(code(wrong), invalid);
  EXPECT_EQ(RemoveAddressRoute(netns, "x").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(netns.Run("nft list ruleset"), "");
}

}  // namespace
}  // namespace migrate
