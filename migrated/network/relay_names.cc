#include "migrated/network/relay_names.h"

#include <arpa/inet.h>

#include <algorithm>
#include <sstream>

#include "base/file_util.h"
#include "base/ids.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/nft.h"

namespace migrate {

RelaySpec MakeRelaySpec(std::string id, std::string relay_address) {
  RelaySpec relay;
  // VNI 0 means "none" in some tools.
  relay.vni = std::max(1UL, std::stoul(id.substr(0, 6), nullptr, 16));
  relay.id = std::move(id);
  relay.relay_address = std::move(relay_address);
  return relay;
}

namespace internal {
namespace {

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

std::string RelayLink(std::string_view id) {
  return kRelayLinkPrefix + std::string(id.substr(0, 8));
}

std::string RelayTable(std::string_view id) { return kRelayTablePrefix + std::string(id); }

std::string RelayLabel(std::string_view id) { return "lo:" + RelayLink(id); }

std::uint32_t RelayRoutingTable(std::string_view id) {
  return 0x6d000000U |
         static_cast<std::uint32_t>(std::stoul(std::string(id.substr(0, 6)), nullptr, 16));
}

std::string RelayMac(std::string_view id, RelayEnd end) {
  std::string mac = "02";  // locally administered
  for (std::size_t i = 0; i < 8; i += 2) {
    mac += ":" + std::string(id.substr(i, 2));
  }
  return mac + (end == RelayEnd::kOrigin ? ":00" : ":01");
}

bool IsRelayLink(std::string_view name) {
  return name.size() == 10 && name.starts_with(kRelayLinkPrefix) && IsLowerHex(name.substr(2));
}

bool IsIpv4(const std::string& text) {
  in_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1;
}

bool IsInterfaceName(const std::string& name) {
  return !name.empty() && name.size() < 16 &&
         name.find_first_of("\"\\/ \t\n*") == std::string::npos;
}

Result<> ValidateAddress(const std::string& what, const std::string& address) {
  if (!IsIpv4(address)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     what + " \"" + address + "\" is not an IPv4 address");
  }
  return {};
}

Result<> ValidateRelay(const RelaySpec& relay) {
  if (!IsMigrationId(relay.id)) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + relay.id + "\" is not a relay id");
  }
  if (relay.vni == 0 || relay.vni > 0xffffff || relay.udp_port == 0 || relay.mtu < 576 ||
      relay.mtu > 65000) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "relay " + relay.id + ": VNI, UDP port or MTU is out of range");
  }
  return ValidateAddress("relay address", relay.relay_address);
}

Result<std::vector<std::string>> RelayIds() {
  const std::string prefix = std::string("table ip ") + kRelayTablePrefix;
  std::vector<std::string> ids;
  std::istringstream tables(TRY(RunNft("list tables ip")));
  for (std::string line; std::getline(tables, line);) {
    if (!line.starts_with(prefix)) {
      continue;
    }
    auto id = line.substr(prefix.size());
    if (IsMigrationId(id) && !IsRetired({"ip", RelayTable(id)})) {
      ids.push_back(std::move(id));
    }
  }
  return ids;
}

std::string TableHead(const RelaySpec& relay) {
  return "table ip " + RelayTable(relay.id) + " {\n  set relay { type ipv4_addr; elements = { " +
         relay.relay_address + " } }\n";
}

Result<> MarkRelay(const RelaySpec& relay) {
  TRY(RunNft(TableHead(relay) + "}\n"));
  return {};
}

Result<std::optional<std::string>> MarkedAddress(std::string_view id) {
  auto listed = RunNft("list set ip " + RelayTable(id) + " relay");
  if (!listed) {
    if (listed.error().code == ErrorCode::kNotFound) {
      return std::optional<std::string>{};
    }
    return Error(std::move(listed).error());
  }
  constexpr std::string_view kStart = "elements = { ";
  auto start = listed->find(kStart);
  auto end = listed->find(" }", start);
  if (start == std::string::npos || end == std::string::npos) {
    return std::optional<std::string>{};
  }
  start += kStart.size();
  return std::optional(listed->substr(start, end - start));
}

VxlanLink MakeVxlanLink(const RelaySpec& relay, RelayEnd end, const std::string& local,
                        const std::string& remote) {
  VxlanLink link;
  link.name = RelayLink(relay.id);
  link.mac = RelayMac(relay.id, end);
  link.vni = relay.vni;
  link.udp_port = relay.udp_port;
  link.local_address = local;
  link.remote_address = remote;
  link.mtu = relay.mtu;
  return link;
}

std::string JoinElements(const std::vector<std::string>& elements) {
  std::string joined;
  for (const auto& element : elements) {
    joined += (joined.empty() ? "" : ", ") + element;
  }
  return joined;
}

Result<> RelaxTunnelLink(const std::string& link) {
  // The kernel takes the larger of "all" and the device's own value, and 2 (loose) beats 1.
  const std::string four = "/proc/sys/net/ipv4/conf/";
  auto all = TRY(ReadSmallFile(four + "all/rp_filter"));
  TRY(WriteControlFile(four + link + "/rp_filter", all.starts_with("0") ? "0" : "2"));
  // Without IPv6 in the kernel there is no such file.
  (void)WriteControlFile("/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6", "1");
  return {};
}

}  // namespace internal
}  // namespace migrate
