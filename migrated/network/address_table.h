// The nftables table of address mode: rules, and the facts by which everything else is found.
// Internal to migrated/network; acts in the current network namespace.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "migrated/network/address_move.h"

namespace migrate::internal {

enum class AddressRole { kRoute, kTarget };

// Settings of a bridge that are changed while it answers for other addresses; -1: not changed, or
// not there. The values are those from before.
struct BridgeSettings {
  int proxy_ndp = -1;
  int proxy_delay4 = -1;
  int proxy_delay6 = -1;
};

struct AddressTable {
  AddressRole role = AddressRole::kRoute;
  std::string id;
  std::vector<std::string> remote;  // addresses that are reached through the other host
  std::vector<std::string> local;   // of the container that is here
  std::string bridge;
  HostAddress other_host;
  HostAddress source_host;                   // not read back
  std::vector<Connection> host_connections;  // not read back
  BridgeSettings before;

  // Of the table, and of the rules in Docker's chains.
  std::string Name() const;
};

Result<> WriteAddressTable(const AddressTable& table);
Result<> RemoveAddressTable(const AddressTable& table);
Result<> ForgetRemote(const AddressTable& table, const std::string& address);
Result<std::vector<AddressTable>> AddressTables();

}  // namespace migrate::internal
