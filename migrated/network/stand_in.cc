#include "migrated/network/stand_in.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

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

constexpr std::uint32_t kLocalTable = 255;

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
  const auto table = "ip " + TableOf(stand_in.id);
  const auto element = " element " + table + " addresses { " + stand_in.address;
  std::ostringstream out;
  out << "add table " << table << "\nadd set " << table << " addresses { type ipv4_addr; }\nadd"
      << element << " }\ndelete" << element << " }\nadd" << element << " comment \""
      << stand_in.bridge << "\" }\nadd chain " << table
      << " in { type filter hook input priority -10; }\nflush chain " << table << " in\nadd rule "
      << table << " in ip daddr @addresses ct direction reply ct status snat accept\nadd rule "
      << table << " in ip daddr @addresses drop\n";
  return out.str();
}

Result<std::vector<StandIn>> ListTable(const std::string& id) {
  auto listed = RunNft("list set ip " + TableOf(id) + " addresses", NftOutput::kJson);
  if (!listed) {
    return listed.error().code == ErrorCode::kNotFound
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

Result<std::vector<StandIn>> FindHere() {
  const std::string prefix = std::string("table ip ") + kTablePrefix;
  std::istringstream tables(TRY(RunNft("list tables ip")));
  std::vector<StandIn> found;
  for (std::string line; std::getline(tables, line);) {
    if (!line.starts_with(prefix) || !IsMigrationId(line.substr(prefix.size()))) {
      continue;
    }
    for (auto& stand_in : TRY(ListTable(line.substr(prefix.size())))) {
      found.push_back(std::move(stand_in));
    }
  }
  return found;
}

// Docker's own one.
Result<std::string> BridgeAddress(Rtnl& rtnl, const std::string& bridge) {
  for (const auto& info : TRY(rtnl.Addresses())) {
    if (info.link == bridge && !info.address.ends_with("/32")) {
      return info.address.substr(0, info.address.find('/'));
    }
  }
  return std::string();
}

Result<> RemoveHere(const std::string& id, const std::string& address) {
  auto marked = TRY(ListTable(id));
  auto found = std::find_if(marked.begin(), marked.end(),
                            [&](const StandIn& other) { return other.address == address; });
  if (found == marked.end()) {
    return {};  // an address that somebody else may have put there
  }
  auto rtnl = TRY(Rtnl::Open());
  if (TRY(rtnl.LinkIndex(found->bridge)) != 0) {
    for (const auto& route : TRY(rtnl.Routes())) {
      if (route.table == kLocalTable && route.protocol == kRouteProtocol &&
          route.destination == address + "/32") {
        TRY(rtnl.DeleteRoute(route));  // the kernel takes only its own route with the address
      }
    }
    TRY(rtnl.DeleteAddress({address + "/32", found->bridge, ""}));
  }
  if (marked.size() == 1) {
    return RetireNftTable({"ip", TableOf(id)});
  }
  TRY(RunNft("delete element ip " + TableOf(id) + " addresses { " + address + " }\n"));
  return {};
}

Result<> TakeHere(const StandIn& stand_in) {
  auto rtnl = TRY(Rtnl::Open());
  if (TRY(rtnl.LinkIndex(stand_in.bridge)) == 0) {
    return MakeError(ErrorCode::kNotFound, "there is no bridge " + stand_in.bridge);
  }
  for (const auto& marked : TRY(ListTable(stand_in.id))) {
    if (marked.address == stand_in.address && marked.bridge != stand_in.bridge) {
      TRY(RemoveHere(marked.id, marked.address));
    }
  }
  // An empty table that waits for its removal must not take the address with it.
  const NftTable table{"ip", TableOf(stand_in.id)};
  const auto reset = IsRetired(table) ? TRY(ResetNftTable(table)) : std::string();
  // Marked, and silent, before the address exists.
  TRY(RunNft(reset + TakeCommands(stand_in)));
  TRY(rtnl.AddAddress(stand_in.bridge, stand_in.address + "/32"));
  // Otherwise a program of this host that connects to it would have it as its own address as well,
  // and lose the connection with it.
  const auto source = TRY(BridgeAddress(rtnl, stand_in.bridge));
  return source.empty() ? Result<>()
                        : rtnl.SetRoute({.destination = stand_in.address + "/32",
                                         .link = stand_in.bridge,
                                         .table = kLocalTable,
                                         .local_source = source});
}

Result<> RemoveAllHere(const std::string& id) {
  for (const auto& stand_in : TRY(ListTable(id))) {
    TRY(RemoveHere(stand_in.id, stand_in.address));
  }
  return RetireNftTable({"ip", TableOf(id)});
}

// Relays label what they add to the loopback device, and have devices of their own.
Result<std::vector<AddressInfo>> OwnAddresses() {
  auto rtnl = TRY(Rtnl::Open());
  std::vector<AddressInfo> own;
  for (auto& info : TRY(rtnl.Addresses())) {
    if (info.link != "lo" && !IsRelayLink(info.link)) {
      own.push_back(std::move(info));
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
    for (const auto& stand_in : TRY(ListTable(std::string(id)))) {
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
