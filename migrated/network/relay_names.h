// Names and numbers that follow from a relay's id, what differs between the two IP versions, and
// steps that parts of a relay share. Internal to migrated/network. Functions without a netns
// argument act in the current one.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "migrated/network/relay.h"
#include "migrated/network/rtnl.h"

namespace migrate::internal {

inline constexpr char kRelayLinkPrefix[] = "mg";
inline constexpr char kRelayTablePrefix[] = "migrate_";
inline constexpr std::uint32_t kRelayRulePriority = 7748;
inline constexpr std::uint32_t kMainTable = 254;
// Where a namespace with a tunnel knows its local addresses: behind the rules above.
inline constexpr std::uint32_t kLocalRulePriority = 7749;
inline constexpr std::uint32_t kLocalTable = 255;
// Of IPv6 in a tunnel: the least that there is. With more the kernel would learn, and keep, a
// smaller one from the tunnel's own path, which IPv6 cannot be told to ignore ("mtu lock" is
// IPv4's); and what it then reports to the container's restored connections names R6, which they do
// not know.
inline constexpr std::uint32_t kTunnelMtu6 = 1280;

// What differs between IPv4 and IPv6.
struct IpFamily {
  int number;                // AF_INET
  const char* nft;           // nftables' family, and of its header fields
  const char* address_type;  // of nftables' sets
  const char* host_length;   // of one address as a range
  const char* everything;    // as a range
  const char* wildcard;      // the address of a socket that waits at all
  const char* loopback;      // as a range
  const char* echo_request;  // in nftables' language
  // The next hop that stands for the origin: link-local, never on the wire, resolved by a permanent
  // neighbour entry.
  const char* origin_gateway;
};
inline constexpr IpFamily kIpv4{AF_INET,        "ip",      "ipv4_addr",   "/32",
                                "0.0.0.0/0",    "0.0.0.0", "127.0.0.0/8", "icmp type echo-request",
                                "169.254.77.48"};
inline constexpr IpFamily kIpv6{AF_INET6,     "ip6", "ipv6_addr", "/128",
                                "::/0",       "::",  "::1",       "icmpv6 type echo-request",
                                "fe80::4d:30"};

const IpFamily& FamilyOf(std::string_view address);
bool IsOf(const IpFamily& family, std::string_view address);
std::vector<std::string> OnlyOf(const IpFamily& family, const std::vector<std::string>& addresses);
std::string HostRange(const std::string& address);  // "198.18.0.1/32"
// The IPv4 address in the last 32 bits of the range (/96).
std::string InRange6(const char* range, const std::string& relay_address);
// As which the origin itself talks to the container where its own source would mean nothing there.
inline constexpr char kOriginRange6[] = "fd6d:6967:7261:1::";
const std::string& RelayAddressOf(const RelaySpec& relay, const IpFamily& family);

std::string RelayLink(std::string_view id);   // fits IFNAMSIZ
std::string RelayTable(std::string_view id);  // of families ip and, if there is an R6, ip6
std::string RelayLabel(std::string_view id);  // of addresses on lo
std::uint32_t RelayRoutingTable(std::string_view id);
enum class RelayEnd { kOrigin, kContainer };
std::string RelayMac(std::string_view id, RelayEnd end);

bool IsRelayLink(std::string_view name);

bool IsIpv4(const std::string& text);
bool IsIpv6(const std::string& text);  // as inet_ntop() writes it
// Fit to stand in a firewall command.
bool IsInterfaceName(const std::string& name);
// The texts go into firewall commands and come from another host.
Result<> ValidateRelay(const RelaySpec& relay);
Result<> ValidateAddress(const std::string& what, const std::string& address);
Result<> ValidateIpv4(const std::string& what, const std::string& address);

// Of the tables that exist, on either side.
Result<std::vector<std::string>> RelayIds();

// The table of family ip is made first and removed last, and holds R: whatever else exists is found
// by it. That of family ip6 holds R6.
std::string TableHead(const RelaySpec& relay, const IpFamily& family = kIpv4);
Result<> MarkRelay(const RelaySpec& relay);  // makes the table if it does not exist
Result<std::optional<std::string>> MarkedAddress(std::string_view id,
                                                 const IpFamily& family = kIpv4);
// Of the set in the table; empty if one of them does not exist.
Result<std::vector<std::string>> ListedAddresses(std::string_view id, const IpFamily& family,
                                                 const std::string& set);

std::uint32_t TunnelMtu(const RelaySpec& relay, const IpFamily& family);
VxlanLink MakeVxlanLink(const RelaySpec& relay, RelayEnd end, const std::string& local,
                        const std::string& remote);
// "a, b", for an nftables set.
std::string JoinElements(const std::vector<std::string>& elements);

// Packets whose way back is another interface must not be dropped there. No IPv6 on it, unless the
// relay has an R6.
Result<> RelaxTunnelLink(const std::string& link, bool with_ipv6);
// IPv6 on it, without addresses that the kernel makes up. Fails on a host without IPv6.
Result<> OpenTunnelLinkToIpv6(const std::string& link);
Result<> CloseTunnelLinkToIpv6(const std::string& link);
// What was lost with IPv6, for the operator.
std::string Ipv6Warning(const Error& error);

}  // namespace migrate::internal
