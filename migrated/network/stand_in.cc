#include "migrated/network/stand_in.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/ids.h"
#include "migrated/network/announce.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using namespace internal;  // NOLINT: names that the relay uses as well

namespace {

// The kernel adds the route of an IPv6 address a little after the address.
constexpr int kRouteTries = 200;
constexpr auto kRouteRetryDelay = std::chrono::milliseconds(1);
constexpr std::uint8_t kKernelRoute = 2;  // RTPROT_KERNEL

constexpr char kTablePrefix[] = "migrate_stand_";

std::string TableOf(std::string_view id) { return kTablePrefix + std::string(id); }

Result<> ValidateId(std::string_view id) {
  if (!IsMigrationId(id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + std::string(id) + "\" is not a relay id");
  }
  return {};
}

Result<> Validate(const StandIn& stand_in) {
  TRY(ValidateId(stand_in.id));
  TRY(ValidateAddress("address to stand in for", stand_in.address));
  if (!IsInterfaceName(stand_in.bridge)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "\"" + stand_in.bridge + "\" is not an interface name");
  }
  return {};
}

// The comment holds the bridge. Without the drop the host itself would answer: RST, port
// unreachable, echo replies. Replies to the host's own connections, which have the address as
// their source when they lead to it, come in translated back.
std::string TakeCommands(const StandIn& stand_in) {
  const IpFamily& family = FamilyOf(stand_in.address);
  const std::string field = family.nft;
  const auto table = field + " " + TableOf(stand_in.id);
  const auto element = " element " + table + " addresses { " + stand_in.address;
  std::ostringstream out;
  out << "add table " << table << "\nadd set " << table << " addresses { type "
      << family.address_type << "; }\nadd" << element << " }\ndelete" << element << " }\nadd"
      << element << " comment \"" << stand_in.bridge << "\" }\nadd chain " << table
      << " in { type filter hook input priority -10; }\nflush chain " << table << " in\nadd rule "
      << table << " in " << field << " daddr @addresses ct direction reply ct status snat accept\n";
  if (family.number == AF_INET6) {  // what ARP is for IPv4 comes as a packet to the address
    out << "add rule " << table
        << " in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n";
  }
  out << "add rule " << table << " in " << field << " daddr @addresses drop\n";
  return out.str();
}

Result<std::vector<StandIn>> ListTable(const std::string& id, const IpFamily& family) {
  auto listed = RunNft(std::string("list set ") + family.nft + " " + TableOf(id) + " addresses",
                       NftOutput::kJson);
  if (!listed) {
    return listed.error().code == ErrorCode::kNotFound || family.number == AF_INET6
               ? Result<std::vector<StandIn>>(std::vector<StandIn>{})
               : Result<std::vector<StandIn>>(std::move(listed).error());
  }
  std::vector<StandIn> found;
  const auto json = nlohmann::json::parse(*listed, nullptr, /*allow_exceptions=*/false);
  for (const auto& item : json.value("nftables", nlohmann::json::array())) {
    if (!item.contains("set")) {
      continue;
    }
    for (const auto& element : item["set"].value("elem", nlohmann::json::array())) {
      if (element.contains("elem")) {
        found.push_back(
            {id, element["elem"].value("val", ""), element["elem"].value("comment", "")});
      }
    }
  }
  return found;
}

Result<std::vector<StandIn>> ListBoth(const std::string& id) {
  auto found = TRY(ListTable(id, kIpv4));
  for (auto& stand_in : TRY(ListTable(id, kIpv6))) {
    found.push_back(std::move(stand_in));
  }
  return found;
}

Result<std::vector<StandIn>> FindHere() {
  std::istringstream tables(TRY(RunNft("list tables")));
  std::vector<StandIn> found;
  for (std::string line; std::getline(tables, line);) {
    for (const IpFamily* family : {&kIpv4, &kIpv6}) {
      const auto prefix = std::string("table ") + family->nft + " " + kTablePrefix;
      if (!line.starts_with(prefix) || !IsMigrationId(line.substr(prefix.size()))) {
        continue;
      }
      for (auto& stand_in : TRY(ListTable(line.substr(prefix.size()), *family))) {
        found.push_back(std::move(stand_in));
      }
    }
  }
  return found;
}

// Docker's own one.
Result<std::string> BridgeAddress(Rtnl& rtnl, const std::string& bridge, const IpFamily& family) {
  for (const auto& info : TRY(rtnl.Addresses(family.number))) {
    if (info.link == bridge && !info.address.ends_with(family.host_length) &&
        !info.address.starts_with("fe80:")) {
      return info.address.substr(0, info.address.find('/'));
    }
  }
  return std::string();
}

Result<> RemoveHere(const std::string& id, const std::string& address) {
  const IpFamily& family = FamilyOf(address);
  auto marked = TRY(ListTable(id, family));
  auto found = std::find_if(marked.begin(), marked.end(),
                            [&](const StandIn& other) { return other.address == address; });
  if (found == marked.end()) {
    return {};  // an address that somebody else may have put there
  }
  auto rtnl = TRY(Rtnl::Open());
  if (TRY(rtnl.LinkIndex(found->bridge)) != 0) {
    for (const auto& route : TRY(rtnl.Routes(family.number))) {
      if (route.table == kLocalTable && route.protocol == kRouteProtocol &&
          route.destination == HostRange(address)) {
        TRY(rtnl.DeleteRoute(route));  // the kernel takes only its own route with the address
      }
    }
    TRY(rtnl.DeleteAddress({HostRange(address), found->bridge, ""}));
  }
  if (marked.size() == 1) {
    return RetireNftTable({family.nft, TableOf(id)});
  }
  TRY(RunNft(std::string("delete element ") + family.nft + " " + TableOf(id) + " addresses { " +
             address + " }\n"));
  return {};
}

// IPv6 does not let one local route replace another, and prefers the kernel's. Without it ours is
// the one that is asked. `expected`: it comes if it is not there.
Result<> DropKernelRoute(Rtnl& rtnl, const StandIn& stand_in, bool expected) {
  for (int i = 0; i < (expected ? kRouteTries : 1); ++i) {
    for (const auto& route : TRY(rtnl.Routes(AF_INET6))) {
      if (route.table == kLocalTable && route.protocol == kKernelRoute &&
          route.destination == HostRange(stand_in.address) && route.link == stand_in.bridge) {
        return rtnl.DeleteRoute(route);
      }
    }
    std::this_thread::sleep_for(kRouteRetryDelay);
  }
  return {};  // this host's own programs use the address as their source, all else works
}

Result<> TakeHere(const StandIn& stand_in) {
  auto rtnl = TRY(Rtnl::Open());
  if (TRY(rtnl.LinkIndex(stand_in.bridge)) == 0) {
    return MakeError(ErrorCode::kNotFound, "there is no bridge " + stand_in.bridge);
  }
  const IpFamily& family = FamilyOf(stand_in.address);
  for (const auto& marked : TRY(ListTable(stand_in.id, family))) {
    if (marked.address == stand_in.address && marked.bridge != stand_in.bridge) {
      TRY(RemoveHere(marked.id, marked.address));
    }
  }
  // An empty table that waits for its removal must not take the address with it.
  const NftTable table{family.nft, TableOf(stand_in.id)};
  const auto reset = IsRetired(table) ? TRY(ResetNftTable(table)) : std::string();
  // Marked, and silent, before the address exists.
  TRY(RunNft(reset + TakeCommands(stand_in)));
  const auto range = HostRange(stand_in.address);
  const auto present = TRY(rtnl.Addresses(family.number));
  const bool was_there = std::any_of(present.begin(), present.end(), [&](const AddressInfo& info) {
    return info.address == range && info.link == stand_in.bridge;
  });
  TRY(rtnl.AddAddress(stand_in.bridge, range));
  // Otherwise a program of this host that connects to it would have it as its own address as well,
  // and lose the connection with it.
  const auto source = TRY(BridgeAddress(rtnl, stand_in.bridge, family));
  if (source.empty()) {
    return {};
  }
  const bool six = family.number == AF_INET6;
  const auto routed = rtnl.SetRoute({.destination = range,
                                     .link = stand_in.bridge,
                                     .table = kLocalTable,
                                     .locked_mtu = six ? kTunnelMtu6 : 0,
                                     .local_source = source});
  if (six && !routed && routed.error().code == ErrorCode::kInvalidArgument) {
    // In the first second of a bridge its address is not verified yet, and no source. Only this
    // host's own programs miss the route, until the stand-in is set up again, in the hand-off.
    return {};
  }
  TRY(Result(routed));
  return six ? DropKernelRoute(rtnl, stand_in, /*expected=*/!was_there) : Result<>();
}

Result<> RemoveAllHere(const std::string& id) {
  for (const auto& stand_in : TRY(ListBoth(id))) {
    TRY(RemoveHere(stand_in.id, stand_in.address));
  }
  TRY(RetireNftTable({kIpv6.nft, TableOf(id)}));
  return RetireNftTable({kIpv4.nft, TableOf(id)});
}

// Relays label what they add to the loopback device, and have devices of their own.
Result<std::vector<AddressInfo>> OwnAddresses() {
  auto rtnl = TRY(Rtnl::Open());
  std::vector<AddressInfo> own;
  for (const IpFamily* family : {&kIpv4, &kIpv6}) {
    for (auto& info : TRY(rtnl.Addresses(family->number))) {
      if (info.link != "lo" && !IsRelayLink(info.link) && !info.address.starts_with("fe80:")) {
        own.push_back(std::move(info));
      }
    }
  }
  return own;
}

}  // namespace

Result<> TakeAddress(FdRef host_netns, const StandIn& stand_in) {
  TRY(Validate(stand_in));
  TRY(InNetns(host_netns, [&] { return TakeHere(stand_in); }));
  return Announce(host_netns, stand_in.bridge, stand_in.address);
}

Result<> GiveBackAddress(FdRef host_netns, const StandIn& stand_in,
                         const std::string& container_mac) {
  TRY(Validate(stand_in));
  TRY(RemoveStandIn(host_netns, stand_in.id, stand_in.address));
  return Announce(host_netns, stand_in.bridge, stand_in.address, container_mac);
}

Result<> RemoveStandIn(FdRef host_netns, std::string_view id, const std::string& address) {
  TRY(ValidateId(id));
  TRY(ValidateAddress("address to stand in for", address));
  return InNetns(host_netns, [&] { return RemoveHere(std::string(id), address); });
}

Result<> RemoveStandIns(FdRef host_netns, std::string_view id) {
  TRY(ValidateId(id));
  return InNetns(host_netns, [&] { return RemoveAllHere(std::string(id)); });
}

Result<> KeepStandIns(FdRef host_netns, std::string_view id, const std::vector<StandIn>& kept) {
  TRY(ValidateId(id));
  for (const auto& stand_in : kept) {
    if (stand_in.id != id) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "the stand-in for " + stand_in.address + " has the id of another relay");
    }
    TRY(TakeAddress(host_netns, stand_in));
  }
  auto is_kept = [&](const StandIn& stand_in) {
    return std::any_of(kept.begin(), kept.end(),
                       [&](const StandIn& other) { return other.address == stand_in.address; });
  };
  return InNetns(host_netns, [&]() -> Result<> {
    for (const auto& stand_in : TRY(ListBoth(std::string(id)))) {
      if (!is_kept(stand_in)) {
        TRY(RemoveHere(stand_in.id, stand_in.address));
      }
    }
    return {};
  });
}

Result<std::vector<StandIn>> FindStandIns(FdRef host_netns) {
  return ValueInNetns<std::vector<StandIn>>(host_netns, FindHere);
}

Result<> AnnounceOwnAddresses(FdRef container_netns) {
  for (const auto& info :
       TRY(ValueInNetns<std::vector<AddressInfo>>(container_netns, OwnAddresses))) {
    auto announced =
        Announce(container_netns, info.link, info.address.substr(0, info.address.find('/')));
    // Not an Ethernet device, or down: nobody asks for the address there.
    if (!announced && announced.error().code != ErrorCode::kFailedPrecondition &&
        announced.error().code != ErrorCode::kUnavailable) {
      return announced;
    }
  }
  return {};
}

}  // namespace migrate
