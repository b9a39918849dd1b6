// Names and numbers that follow from a relay's id, and steps that parts of a relay share.
// Internal to migrated/network. Functions without a netns argument act in the current one.
#pragma once

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
// The next hop that stands for the origin: link-local, never on the wire, resolved by a permanent
// neighbour entry.
inline constexpr char kOriginGateway[] = "169.254.77.48";

std::string RelayLink(std::string_view id);   // fits IFNAMSIZ
std::string RelayTable(std::string_view id);  // of family ip
std::string RelayLabel(std::string_view id);  // of addresses on lo
std::uint32_t RelayRoutingTable(std::string_view id);
enum class RelayEnd { kOrigin, kContainer };
std::string RelayMac(std::string_view id, RelayEnd end);

bool IsRelayLink(std::string_view name);

bool IsIpv4(const std::string& text);
// Fit to stand in a firewall command.
bool IsInterfaceName(const std::string& name);
// The texts go into firewall commands and come from another host.
Result<> ValidateRelay(const RelaySpec& relay);
Result<> ValidateAddress(const std::string& what, const std::string& address);

// Of the tables that exist, on either side.
Result<std::vector<std::string>> RelayIds();

// The table is made first and removed last, and holds R: whatever else exists is found by it.
std::string TableHead(const RelaySpec& relay);  // "table ip migrate_... { set relay {...}"
Result<> MarkRelay(const RelaySpec& relay);     // makes the table if it does not exist
Result<std::optional<std::string>> MarkedAddress(std::string_view id);

VxlanLink MakeVxlanLink(const RelaySpec& relay, RelayEnd end, const std::string& local,
                        const std::string& remote);
// "a, b", for an nftables set.
std::string JoinElements(const std::vector<std::string>& elements);

// Packets whose way back is another interface must not be dropped there; no IPv6 on it.
Result<> RelaxTunnelLink(const std::string& link);

}  // namespace migrate::internal
