#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/ids.h"
#include "base/subnet.h"
#include "migrated/network/host_facts.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/relay.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {

using namespace internal;  // NOLINT: this file is a third of it

namespace {

Result<RelayTraces> FindHere() {
  RelayTraces traces;
  traces.relay_ids = TRY(RelayIds());
  for (const auto& id : traces.relay_ids) {
    if (auto address = TRY(MarkedAddress(id))) {
      traces.addresses.push_back(*address);
    }
  }
  auto rtnl = TRY(Rtnl::Open());
  for (auto& name : TRY(rtnl.LinkNames())) {
    if (IsRelayLink(name)) {
      traces.links.push_back(std::move(name));
    }
  }
  for (const auto& route : TRY(rtnl.Routes())) {
    auto address = route.destination.substr(0, route.destination.find('/'));
    if (route.protocol == kRouteProtocol && route.destination == address + "/32" &&
        std::find(traces.addresses.begin(), traces.addresses.end(), address) ==
            traces.addresses.end()) {
      traces.addresses.push_back(address);
    }
  }
  return traces;
}

}  // namespace

Result<RelayTraces> FindRelays(FdRef netns) { return ValueInNetns<RelayTraces>(netns, FindHere); }

Result<std::string> ChooseRelayAddress(FdRef host_netns, std::string_view relay_id,
                                       const std::string& subnet) {
  auto slash = subnet.find('/');
  in_addr base{};
  unsigned length = 0;
  const char* end = subnet.data() + subnet.size();
  if (!IsMigrationId(relay_id) || slash == std::string::npos ||
      inet_pton(AF_INET, subnet.substr(0, slash).c_str(), &base) != 1 ||
      std::from_chars(subnet.data() + slash + 1, end, length).ptr != end || length < 8 ||
      length > 30) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "\"" + subnet + "\" is not a subnet (/8 to /30) for relay addresses");
  }
  auto networks = TRY(LocalNetworks(host_netns));
  auto traces = TRY(FindRelays(host_netns));
  const std::uint32_t count = (1U << (32 - length)) - 2;  // without the first and the last
  const std::uint32_t first = (ntohl(base.s_addr) & (~0U << (32 - length))) + 1;
  const auto start =
      static_cast<std::uint32_t>(std::stoull(std::string(relay_id.substr(8)), nullptr, 16) % count);
  for (std::uint32_t i = 0; i < std::min(count, 4096U); ++i) {
    in_addr candidate{htonl(first + (start + i) % count)};
    std::array<char, INET_ADDRSTRLEN> text{};
    std::string address = inet_ntop(AF_INET, &candidate, text.data(), text.size());
    bool taken = std::any_of(networks.begin(), networks.end(), [&](const LocalNetwork& network) {
      return SubnetsOverlap(network.subnet, address + "/32");
    });
    taken = taken || std::find(traces.addresses.begin(), traces.addresses.end(), address) !=
                         traces.addresses.end();
    if (!taken) {
      return address;
    }
  }
  return MakeError(ErrorCode::kResourceExhausted,
                   "no free relay address in " + subnet + ", or the network is routed elsewhere");
}

}  // namespace migrate
