#include "migrated/network/address_move.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/file_util.h"
#include "base/ids.h"
#include "base/netns.h"
#include "migrated/network/address_table.h"
#include "migrated/network/announce.h"
#include "migrated/network/forward_accept.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using namespace internal;  // NOLINT: this file carries out what the tables say

namespace {

constexpr std::uint32_t kMainTable = 254;
constexpr std::uint8_t kTcpEstablished = 3;            // enum tcp_conntrack
constexpr std::uint32_t kEstablishedTimeout = 432000;  // the kernel's own default
constexpr std::uint32_t kUdpTimeout = 180;

bool IsSix(const std::string& address) { return address.find(':') != std::string::npos; }

std::string HostPrefix(const std::string& address) {
  return address + (IsSix(address) ? "/128" : "/32");
}

template <typename T>
bool Contains(const std::vector<T>& list, const T& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// --- what comes from outside ---

// As the kernel writes it, since it is compared with what the kernel lists.
Result<> Normalise(const std::string& what, std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = IsSix(address) ? AF_INET6 : AF_INET;
  if (inet_pton(family, address.c_str(), bytes.data()) != 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     what + " \"" + address + "\" is not an IP address");
  }
  address = inet_ntop(family, bytes.data(), text.data(), text.size());
  return {};
}

Result<> NormaliseAll(const std::string& what, std::vector<std::string>& addresses) {
  for (auto& address : addresses) {
    TRY(Normalise(what, address));
  }
  return {};
}

Result<> NormaliseAll(std::vector<Connection>& connections) {
  for (auto& connection : connections) {
    TRY(Normalise("local address of a connection", connection.local_address));
    TRY(Normalise("remote address of a connection", connection.remote_address));
  }
  return {};
}

Result<> NormaliseHost(const std::string& what, HostAddress& host) {
  for (auto [address, six] : {std::pair(&host.v4, false), std::pair(&host.v6, true)}) {
    if (address->empty()) {
      continue;
    }
    TRY(Normalise(what, *address));
    if (IsSix(*address) != six) {
      return MakeError(ErrorCode::kInvalidArgument,
                       what + " " + *address + " is of the other family");
    }
  }
  return {};
}

Result<> CheckId(const std::string& id) {
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + id + "\" is not an id of a move");
  }
  return {};
}

Result<> Normalise(AddressTable& table) {
  TRY(CheckId(table.id));
  TRY(NormaliseAll("address of the container", table.local));
  TRY(NormaliseAll("address beyond the other host", table.remote));
  TRY(NormaliseHost("address of the other host", table.other_host));
  TRY(NormaliseHost("address of the source host", table.source_host));
  TRY(NormaliseAll(table.host_connections));
  if (!table.bridge.empty() && !IsInterfaceName(table.bridge)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "\"" + table.bridge + "\" is not an interface name");
  }
  for (const auto& address : table.remote) {
    if (table.other_host.ForFamilyOf(address).empty()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "no address of the other host of the same family as " + address);
    }
  }
  return {};
}

// --- settings of the bridge ---

struct Setting {
  int BridgeSettings::*before;
  const char* directory;
  const char* name;
  int wanted;
};
// The delays spread the answers of many proxies; ours is the only one, and the peer waits for it.
constexpr std::array<Setting, 3> kSettings{{
    {&BridgeSettings::proxy_ndp, "/proc/sys/net/ipv6/conf/", "/proxy_ndp", 1},
    {&BridgeSettings::proxy_delay4, "/proc/sys/net/ipv4/neigh/", "/proxy_delay", 0},
    {&BridgeSettings::proxy_delay6, "/proc/sys/net/ipv6/neigh/", "/proxy_delay", 0},
}};

std::string PathOf(const Setting& setting, const std::string& bridge) {
  return setting.directory + bridge + setting.name;
}

// The values from before the first of our tables changed them.
BridgeSettings SettingsBefore(const std::string& bridge, const std::vector<AddressTable>& tables) {
  BridgeSettings before;
  if (bridge.empty()) {
    return before;
  }
  for (const auto& setting : kSettings) {
    for (const auto& table : tables) {
      if (table.bridge == bridge) {
        before.*setting.before = std::max(before.*setting.before, table.before.*setting.before);
      }
    }
    auto value = ReadSmallFile(PathOf(setting, bridge));
    if (before.*setting.before < 0 && value && std::atoi(value->c_str()) != setting.wanted) {
      before.*setting.before = std::atoi(value->c_str());
    }
  }
  return before;
}

Result<> ChangeSettings(const AddressTable& table) {
  for (const auto& setting : kSettings) {
    if (table.before.*setting.before >= 0) {
      TRY(WriteControlFile(PathOf(setting, table.bridge), std::to_string(setting.wanted)));
    }
  }
  return {};
}

Result<> RestoreSettings(const AddressTable& table, const std::vector<AddressTable>& others) {
  if (std::any_of(others.begin(), others.end(), [&](const AddressTable& other) {
        return other.bridge == table.bridge && !other.remote.empty();
      })) {
    return {};
  }
  for (const auto& setting : kSettings) {
    const auto path = PathOf(setting, table.bridge);
    // The bridge may be gone.
    if (table.before.*setting.before >= 0 && std::filesystem::exists(path)) {
      TRY(WriteControlFile(path, std::to_string(table.before.*setting.before)));
    }
  }
  return {};
}

// --- addresses beyond the other host ---

Result<> LeadAway(Rtnl& rtnl, const AddressTable& table, const std::string& address) {
  const auto& gateway = table.other_host.ForFamilyOf(address);
  auto way = TRY(rtnl.RouteTo(gateway));
  if (!way || !way->gateway.empty()) {
    return MakeError(ErrorCode::kUnavailable,
                     gateway + " is not on a network of this host, so that " + address +
                         " cannot be routed to it",
                     "ADDRESS_NEXT_HOP");
  }
  TRY(rtnl.SetRoute({.destination = HostPrefix(address), .link = way->link, .gateway = gateway}));
  if (table.bridge.empty()) {
    return {};
  }
  return rtnl.AddProxyNeighbour(table.bridge, address);
}

Result<> AnnounceRemote(FdRef host_netns, const std::string& bridge,
                        const std::vector<std::string>& addresses) {
  for (const auto& address : addresses) {
    auto done = bridge.empty() ? Result<>() : Announce(host_netns, bridge, address);
    // A bridge without a container has nobody to tell.
    if (!done && done.error().code != ErrorCode::kUnavailable) {
      return done;
    }
  }
  return {};
}

Result<> EndRoute(Rtnl& rtnl, const AddressTable& table, const std::string& address) {
  for (const auto& route : TRY(rtnl.Routes(IsSix(address) ? AF_INET6 : AF_INET))) {
    if (route.protocol == kRouteProtocol && route.table == kMainTable &&
        route.destination == HostPrefix(address)) {
      TRY(rtnl.DeleteRoute(route));
    }
  }
  if (!table.bridge.empty()) {
    TRY(rtnl.DeleteProxyNeighbour(table.bridge, address));
  }
  return RevokeAddress(address, table.Name());
}

// Unless another table leads it away as well.
Result<> ReleaseRemote(Rtnl& rtnl, const AddressTable& table, const std::string& address,
                       const std::vector<AddressTable>& others) {
  for (const auto& other : others) {
    if (Contains(other.remote, address)) {
      return RevokeAddress(address, table.Name());
    }
  }
  return EndRoute(rtnl, table, address);
}

// What `old` needed and `table`, which has taken its place, does not.
Result<> ReleaseWhatChanged(Rtnl& rtnl, const AddressTable& old, const AddressTable& table,
                            const std::vector<AddressTable>& others) {
  for (const auto& address : old.remote) {
    if (!Contains(table.remote, address)) {
      TRY(ReleaseRemote(rtnl, old, address, others));
    }
  }
  for (const auto& address : old.local) {
    if (!Contains(table.local, address)) {
      TRY(RevokeAddress(address, old.Name()));
    }
  }
  if (table.remote.empty() || table.bridge != old.bridge) {
    TRY(RestoreSettings(old, others));
  }
  return {};
}

// The tables other than that of a role and id, and that one.
struct Existing {
  std::vector<AddressTable> all;
  std::vector<AddressTable> others;
  std::optional<AddressTable> same;
};
Result<Existing> LookAround(AddressRole role, const std::string& id) {
  Existing existing;
  existing.all = TRY(AddressTables());
  for (const auto& table : existing.all) {
    if (table.role == role && table.id == id) {
      existing.same = table;
    } else {
      existing.others.push_back(table);
    }
  }
  return existing;
}

Result<> PrepareHere(AddressTable table) {
  for (int family : {AF_INET, AF_INET6}) {
    auto is_of = [&](const std::string& a) { return IsSix(a) == (family == AF_INET6); };
    if (std::any_of(table.remote.begin(), table.remote.end(), is_of) ||
        std::any_of(table.local.begin(), table.local.end(), is_of)) {
      TRY(CheckForwardingOf(family));
    }
  }
  const auto existing = TRY(LookAround(table.role, table.id));
  table.before = SettingsBefore(table.remote.empty() ? "" : table.bridge, existing.all);
  auto rtnl = TRY(Rtnl::Open());
  TRY(WriteAddressTable(table));
  for (const auto* addresses : {&table.remote, &table.local}) {
    for (const auto& address : *addresses) {
      TRY(AcceptAddress(address, table.Name()));
    }
  }
  TRY(ChangeSettings(table));
  return existing.same ? ReleaseWhatChanged(rtnl, *existing.same, table, existing.others)
                       : Result<>();
}

Result<> SwitchHere(const AddressTable& table) {
  auto rtnl = TRY(Rtnl::Open());
  for (const auto& address : table.remote) {
    TRY(LeadAway(rtnl, table, address));
  }
  return {};
}

Result<> RemoveHere(AddressRole role, const std::string& id) {
  const auto existing = TRY(LookAround(role, id));
  AddressTable table;
  if (existing.same) {
    table = *existing.same;
  } else {
    table.role = role;
    table.id = id;
  }
  auto rtnl = TRY(Rtnl::Open());
  for (const auto& address : table.remote) {
    TRY(ReleaseRemote(rtnl, table, address, existing.others));
  }
  TRY(RestoreSettings(table, existing.others));
  TRY(RevokeAddresses(table.Name()));
  return RemoveAddressTable(table);
}

// The addresses live here now: no table leads them away any more.
Result<> TakeHere(const std::vector<std::string>& addresses) {
  auto rtnl = TRY(Rtnl::Open());
  for (auto& table : TRY(AddressTables())) {
    const bool was_empty = table.remote.empty();
    for (const auto& address : addresses) {
      if (Contains(table.remote, address)) {
        TRY(EndRoute(rtnl, table, address));
        TRY(ForgetRemote(table, address));
        std::erase(table.remote, address);
      }
    }
    if (!was_empty && table.remote.empty() && table.role == AddressRole::kRoute) {
      TRY(RemoveHere(table.role, table.id));
    }
  }
  return {};
}

// --- connection tracking at the target ---

ConntrackEntry EntryFor(const Connection& connection, const std::string& remote) {
  ConntrackEntry entry;
  entry.protocol = connection.protocol;
  // As if the peer had opened it: what the container sends is an answer, and is never translated.
  entry.original = {remote, connection.remote_port, connection.local_address,
                    connection.local_port};
  entry.reply = {connection.local_address, connection.local_port, remote, connection.remote_port};
  entry.seen_reply = entry.assured = true;
  if (connection.protocol == Protocol::kTcp) {
    entry.tcp_state = kTcpEstablished;
  }
  entry.timeout = connection.protocol == Protocol::kTcp ? kEstablishedTimeout : kUdpTimeout;
  return entry;
}

// Entries from an earlier stay of the container may be in the way.
Result<> ReplaceEntry(FdRef host_netns, const ConntrackEntry& entry) {
  auto created = CreateConntrack(host_netns, entry);
  if (created || created.error().code != ErrorCode::kAlreadyExists) {
    return created;
  }
  auto reversed = entry;
  std::swap(reversed.original, reversed.reply);
  TRY(DeleteConntrack(host_netns, entry));
  TRY(DeleteConntrack(host_netns, reversed));
  return CreateConntrack(host_netns, entry);
}

AddressTable TableOf(const AddressRoute& route) {
  AddressTable table;
  table.role = AddressRole::kRoute;
  table.id = route.id;
  table.remote = route.addresses;
  table.bridge = route.bridge;
  table.other_host = route.target_host;
  table.source_host = route.own;
  table.host_connections = route.host_connections;
  return table;
}

AddressTable TableOf(const AddressTarget& target) {
  AddressTable table;
  table.role = AddressRole::kTarget;
  table.id = target.id;
  table.remote = target.neighbours;
  table.local = target.addresses;
  table.bridge = target.bridge;
  table.other_host = target.source_host;
  table.source_host = target.source_host;
  table.host_connections = target.host_connections;
  return table;
}

}  // namespace

Result<> PrepareAddressRoute(FdRef host_netns, const AddressRoute& route) {
  auto table = TableOf(route);
  TRY(Normalise(table));
  return InNetns(host_netns, [&] { return PrepareHere(table); });
}

Result<> SwitchAddressRoute(FdRef host_netns, const AddressRoute& route) {
  auto table = TableOf(route);
  TRY(Normalise(table));
  TRY(InNetns(host_netns, [&] { return SwitchHere(table); }));
  return AnnounceRemote(host_netns, table.bridge, table.remote);
}

Result<> AnnounceAddressRoute(FdRef host_netns, const AddressRoute& route) {
  return AnnounceRemote(host_netns, route.bridge, route.addresses);
}

Result<> RemoveAddressRoute(FdRef host_netns, std::string_view id) {
  TRY(CheckId(std::string(id)));
  return InNetns(host_netns, [&] { return RemoveHere(AddressRole::kRoute, std::string(id)); });
}

Result<> PrepareAddressTarget(FdRef host_netns, const AddressTarget& target) {
  auto table = TableOf(target);
  auto connections = target.connections;
  TRY(Normalise(table));
  TRY(NormaliseAll(connections));
  if (table.bridge.empty()) {
    return {};  // packets of a macvlan do not pass through the host
  }
  TRY(InNetns(host_netns, [&]() -> Result<> {
    TRY(PrepareHere(table));
    return SwitchHere(table);
  }));
  TRY(AnnounceRemote(host_netns, table.bridge, table.remote));
  for (const auto& connection : connections) {
    if (!Contains(table.local, connection.local_address) ||
        Contains(table.remote, connection.remote_address)) {
      continue;  // loopback, or not tracked
    }
    const auto& on_wire = table.source_host.ForFamilyOf(connection.remote_address);
    bool translated = Contains(table.host_connections, connection) && !on_wire.empty();
    TRY(ReplaceEntry(host_netns,
                     EntryFor(connection, translated ? on_wire : connection.remote_address)));
  }
  return {};
}

Result<> ActivateAddressTarget(FdRef host_netns, const AddressTarget& target) {
  auto addresses = target.addresses;
  TRY(NormaliseAll("address of the container", addresses));
  return InNetns(host_netns, [&] { return TakeHere(addresses); });
}

Result<> AnnounceAddressTarget(FdRef host_netns, FdRef container_netns,
                               const std::string& container_link, const AddressTarget& target) {
  for (const auto& address : target.addresses) {
    TRY(Announce(container_netns, container_link, address));
  }
  if (target.bridge.empty() || !TRY(SharedL2(host_netns, target.bridge))) {
    return {};
  }
  auto mac = TRY(LinkMac(container_netns, container_link));
  for (const auto& address : target.addresses) {
    TRY(Announce(host_netns, target.bridge, address, mac));
  }
  return {};
}

Result<> RemoveAddressTarget(FdRef host_netns, std::string_view id) {
  TRY(CheckId(std::string(id)));
  std::vector<std::string> addresses;
  TRY(InNetns(host_netns, [&]() -> Result<> {
    for (const auto& table : TRY(AddressTables())) {
      if (table.role == AddressRole::kTarget && table.id == id) {
        addresses = table.local;
      }
    }
    return {};
  }));
  for (const auto& address : addresses) {
    TRY(DeleteConntrackOf(host_netns, address));
  }
  return InNetns(host_netns, [&] { return RemoveHere(AddressRole::kTarget, std::string(id)); });
}

Result<AddressTraces> FindAddressRoutes(FdRef host_netns) {
  return ValueInNetns<AddressTraces>(host_netns, []() -> Result<AddressTraces> {
    AddressTraces traces;
    for (auto& table : TRY(AddressTables())) {
      if (table.role == AddressRole::kTarget) {
        traces.targets.push_back(std::move(table.id));
      } else {
        traces.routes.push_back({.id = table.id,
                                 .addresses = table.remote,
                                 .bridge = table.bridge,
                                 .target_host = table.other_host,
                                 .own = {},
                                 .host_connections = {}});
      }
    }
    return traces;
  });
}

}  // namespace migrate
