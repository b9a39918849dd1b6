#include "migrated/network/relay_names.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
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

std::string InRange6(const char* range, const std::string& relay_address) {
  in_addr four{};
  in6_addr six{};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_pton(AF_INET, relay_address.c_str(), &four) != 1 ||
      inet_pton(AF_INET6, range, &six) != 1) {
    return {};
  }
  std::memcpy(&six.s6_addr[12], &four, sizeof four);
  return inet_ntop(AF_INET6, &six, text.data(), text.size());
}

}  // namespace internal

std::string RelayAddress6(const std::string& relay_address) {
  return internal::InRange6(kRelayRange6, relay_address);
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

bool IsIpv6(const std::string& text) {
  in6_addr address{};
  std::array<char, INET6_ADDRSTRLEN> written{};
  return inet_pton(AF_INET6, text.c_str(), &address) == 1 &&
         inet_ntop(AF_INET6, &address, written.data(), written.size()) == text;
}

const IpFamily& FamilyOf(std::string_view address) {
  return address.find(':') == std::string_view::npos ? kIpv4 : kIpv6;
}

bool IsOf(const IpFamily& family, std::string_view address) {
  return FamilyOf(address).number == family.number;
}

std::vector<std::string> OnlyOf(const IpFamily& family, const std::vector<std::string>& addresses) {
  std::vector<std::string> found;
  for (const auto& address : addresses) {
    if (IsOf(family, address)) {
      found.push_back(address);
    }
  }
  return found;
}

std::string HostRange(const std::string& address) {
  return address + FamilyOf(address).host_length;
}

const std::string& RelayAddressOf(const RelaySpec& relay, const IpFamily& family) {
  return family.number == AF_INET6 ? relay.relay_address6 : relay.relay_address;
}

bool IsInterfaceName(const std::string& name) {
  return !name.empty() && name.size() < 16 &&
         name.find_first_of("\"\\/ \t\n*") == std::string::npos;
}

Result<> ValidateAddress(const std::string& what, const std::string& address) {
  if (!IsIpv4(address) && !IsIpv6(address)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     what + " \"" + address + "\" is not an IP address");
  }
  return {};
}

Result<> ValidateIpv4(const std::string& what, const std::string& address) {
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
  TRY(ValidateIpv4("relay address", relay.relay_address));
  if (!relay.relay_address6.empty() && !IsIpv6(relay.relay_address6)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "relay address \"" + relay.relay_address6 + "\" is not an IPv6 address");
  }
  return {};
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

std::string TableHead(const RelaySpec& relay, const IpFamily& family) {
  return std::string("table ") + family.nft + " " + RelayTable(relay.id) +
         " {\n  set relay { type " + family.address_type + "; elements = { " +
         RelayAddressOf(relay, family) + " } }\n";
}

Result<> MarkRelay(const RelaySpec& relay) {
  TRY(RunNft(TableHead(relay) + "}\n"));
  return {};
}

Result<std::optional<std::string>> MarkedAddress(std::string_view id, const IpFamily& family) {
  auto listed = TRY(ListedAddresses(id, family, "relay"));
  return listed.empty() ? std::optional<std::string>() : std::optional(std::move(listed.front()));
}

Result<std::vector<std::string>> ListedAddresses(std::string_view id, const IpFamily& family,
                                                 const std::string& set) {
  auto listed = RunNft(std::string("list set ") + family.nft + " " + RelayTable(id) + " " + set);
  std::vector<std::string> found;
  if (!listed) {
    // A kernel without nftables' family ip6 has no such table either.
    return listed.error().code == ErrorCode::kNotFound || family.number == AF_INET6
               ? Result<std::vector<std::string>>(std::move(found))
               : Result<std::vector<std::string>>(std::move(listed).error());
  }
  constexpr std::string_view kStart = "elements = { ";
  const auto start = listed->find(kStart);
  if (start == std::string::npos) {
    return found;
  }
  std::istringstream words(listed->substr(start + kStart.size()));
  for (std::string word; words >> word && word != "}";) {
    found.push_back(word.substr(0, word.find(',')));
  }
  return found;
}

std::uint32_t TunnelMtu(const RelaySpec& relay, const IpFamily& family) {
  return family.number == AF_INET6 ? kTunnelMtu6 : relay.mtu;
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

Result<> RelaxTunnelLink(const std::string& link, bool with_ipv6) {
  // The kernel takes the larger of "all" and the device's own value, and 2 (loose) beats 1.
  const std::string four = "/proc/sys/net/ipv4/conf/";
  auto all = TRY(ReadSmallFile(four + "all/rp_filter"));
  TRY(WriteControlFile(four + link + "/rp_filter", all.starts_with("0") ? "0" : "2"));
  if (!with_ipv6) {
    // Without IPv6 in the kernel there is no such file.
    (void)CloseTunnelLinkToIpv6(link);
  }
  return {};
}

Result<> OpenTunnelLinkToIpv6(const std::string& link) {
  const std::string six = "/proc/sys/net/ipv6/conf/" + link + "/";
  TRY(WriteControlFile(six + "addr_gen_mode", "1"));
  TRY(WriteControlFile(six + "accept_ra", "0"));
  return WriteControlFile(six + "disable_ipv6", "0");
}

Result<> CloseTunnelLinkToIpv6(const std::string& link) {
  return WriteControlFile("/proc/sys/net/ipv6/conf/" + link + "/disable_ipv6", "1");
}

std::string Ipv6Warning(const Error& error) { return "IPv6 is not relayed: " + error.message; }

}  // namespace internal
}  // namespace migrate
