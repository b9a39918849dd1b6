#include "migrated/network/address_table.h"

#include <arpa/inet.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/ids.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay_names.h"

namespace migrate::internal {
namespace {

constexpr std::string_view kRoutePrefix = "migrate_addr_";
constexpr std::string_view kTargetPrefix = "migrate_here_";

struct Family {
  char digit;
  const char* keyword;
  const char* type;
  bool six;
};
constexpr std::array<Family, 2> kFamilies{
    {{'4', "ip", "ipv4_addr", false}, {'6', "ip6", "ipv6_addr", true}}};

bool IsSix(const std::string& address) { return address.find(':') != std::string::npos; }

std::string Elements(const std::vector<std::string>& elements) {
  return elements.empty() ? std::string() : "elements = { " + JoinElements(elements) + " }; ";
}

std::vector<std::string> OfFamily(const std::vector<std::string>& addresses, const Family& family) {
  std::vector<std::string> chosen;
  for (const auto& address : addresses) {
    if (!address.empty() && IsSix(address) == family.six) {
      chosen.push_back(address);
    }
  }
  return chosen;
}

void AppendSet(std::ostream& out, const std::string& name, const char* type,
               const std::vector<std::string>& elements) {
  out << "  set " << name << " { type " << type << "; " << Elements(elements) << "}\n";
}

void AppendFacts(std::ostream& out, const AddressTable& table) {
  for (const auto& family : kFamilies) {
    AppendSet(out, std::string("remote") + family.digit, family.type,
              OfFamily(table.remote, family));
    AppendSet(out, std::string("local") + family.digit, family.type, OfFamily(table.local, family));
    AppendSet(out, std::string("other_host") + family.digit, family.type,
              OfFamily({table.other_host.v4, table.other_host.v6}, family));
  }
  std::vector<std::string> bridge;
  if (!table.bridge.empty()) {
    bridge.push_back('"' + table.bridge + '"');
  }
  AppendSet(out, "on_bridge", "ifname", bridge);
  auto number = [&](const char* name, int value) {
    // Any type of small numbers will do.
    AppendSet(out, name, "inet_service",
              value < 0 ? std::vector<std::string>{} : std::vector{std::to_string(value)});
  };
  number("proxy_ndp", table.before.proxy_ndp);
  number("proxy_delay4", table.before.proxy_delay4);
  number("proxy_delay6", table.before.proxy_delay6);
}

// "tcp . 10.0.0.1 . 80 . 10.0.0.2 . 4000"
std::string Tuple(Protocol protocol, const std::string& source, int source_port,
                  const std::string& destination, int destination_port) {
  std::ostringstream out;
  out << ProtocolName(protocol) << " . " << source << " . " << source_port << " . " << destination
      << " . " << destination_port;
  return out.str();
}

// Between the hosts the peer's address G, which both hosts have, is replaced by the source host's
// own one, S. Each side has a map of new destinations for what comes in, and of new sources.
//   source:  socket at G -> [G becomes S] -> wire; wire -> [S becomes G] -> socket at G
//   target:  wire -> [S becomes G] -> container; container -> [G becomes S] -> wire
void AppendTranslation(std::ostream& out, const AddressTable& table, const Family& family) {
  std::vector<std::string> destinations;
  std::vector<std::string> sources;
  for (const auto& c : table.host_connections) {
    const auto& on_wire = table.source_host.ForFamilyOf(c.remote_address);
    if (IsSix(c.local_address) != family.six || on_wire.empty()) {
      continue;
    }
    const bool at_source = table.role == AddressRole::kRoute;
    const auto& from_container = at_source ? on_wire : c.remote_address;
    const auto& instead = at_source ? c.remote_address : on_wire;
    destinations.push_back(
        Tuple(c.protocol, c.local_address, c.local_port, from_container, c.remote_port) + " : " +
        instead);
    sources.push_back(Tuple(c.protocol, instead, c.remote_port, c.local_address, c.local_port) +
                      " : " + from_container);
  }
  auto map = [&](const char* name, const std::vector<std::string>& elements) {
    out << "  map " << name << family.digit << " { type inet_proto . " << family.type
        << " . inet_service . " << family.type << " . inet_service : " << family.type << "; "
        << Elements(elements) << "}\n";
  };
  map("destination", destinations);
  map("source", sources);
}

std::string TranslationRule(const Family& family, const char* field, const char* map) {
  std::ostringstream out;
  out << "    " << family.keyword << " " << field << " set meta l4proto . " << family.keyword
      << " saddr . th sport . " << family.keyword << " daddr . th dport map @" << map
      << family.digit;
  return out.str();
}

// "0x..." for a comparison with bytes of a packet.
std::string HexText(const std::string& ipv4) {
  in_addr address{};
  inet_pton(AF_INET, ipv4.c_str(), &address);
  std::array<char, sizeof "0x00000000"> text{};
  std::snprintf(text.data(), text.size(), "0x%08x", ntohl(address.s_addr));
  return text.data();
}

void AppendChains(std::ostream& out, const AddressTable& table) {
  // Before connection tracking, which sees one direction only of what is passed on, and would call
  // it invalid or let Docker masquerade it. This host's own traffic is tracked as usual.
  out << "  chain arriving {\n    type filter hook prerouting priority -310;\n";
  for (const auto& family : kFamilies) {
    const std::string ip = family.keyword;
    const std::string set = std::string("@remote") + family.digit;
    out << TranslationRule(family, "daddr", "destination") << " accept\n"
        << "    " << ip << " saddr " << set << " fib daddr type local accept\n"
        << "    " << ip << " saddr " << set << " notrack\n"
        << "    " << ip << " daddr " << set << " notrack\n";
  }
  // At the source before the packet is routed for good, at the target after that: there the new
  // source is an address of this host, and the kernel takes no such packets from outside.
  out << "  }\n  chain leaving {\n    type "
      << (table.role == AddressRole::kRoute ? "route hook output priority -150"
                                            : "filter hook postrouting priority 110")
      << ";\n";
  for (const auto& family : kFamilies) {
    out << TranslationRule(family, "saddr", "source") << "\n";
  }
  // Clients that follow a redirect go wrong as soon as the container moves again. The destination
  // that a redirect is about is 24 bytes into it. In IPv6 there is none to a gateway whose address
  // is not a link-local one.
  out << "  }\n  chain redirects {\n    type filter hook output priority -310;\n";
  for (const auto& address : table.remote) {
    if (!IsSix(address)) {
      out << "    icmp type redirect @th,192,32 " << HexText(address) << " drop\n";
    }
  }
  out << "  }\n";
}

using Json = nlohmann::json;

// The elements of a set that are plain texts or numbers.
std::vector<std::string> ReadElements(const Json& set) {
  std::vector<std::string> elements;
  const auto found = set.find("elem");
  if (found == set.end() || !found->is_array()) {
    return elements;
  }
  for (const auto& element : *found) {
    if (element.is_string()) {
      elements.push_back(element.get<std::string>());
    } else if (element.is_number_integer()) {
      elements.push_back(std::to_string(element.get<int>()));
    }
  }
  return elements;
}

void ReadFact(AddressTable& table, const Json& set) {
  const auto name = set.value("name", "");
  const auto elements = ReadElements(set);
  if (elements.empty()) {
    return;
  }
  auto number = [&] { return std::atoi(elements.front().c_str()); };
  if (name == "remote4" || name == "remote6") {
    table.remote.insert(table.remote.end(), elements.begin(), elements.end());
  } else if (name == "local4" || name == "local6") {
    table.local.insert(table.local.end(), elements.begin(), elements.end());
  } else if (name == "other_host4") {
    table.other_host.v4 = elements.front();
  } else if (name == "other_host6") {
    table.other_host.v6 = elements.front();
  } else if (name == "on_bridge") {
    table.bridge = elements.front();
  } else if (name == "proxy_ndp") {
    table.before.proxy_ndp = number();
  } else if (name == "proxy_delay4") {
    table.before.proxy_delay4 = number();
  } else if (name == "proxy_delay6") {
    table.before.proxy_delay6 = number();
  }
}

Result<> ReadFacts(AddressTable& table) {
  auto listed = RunNft("list table inet " + table.Name(), NftOutput::kJson);
  if (!listed) {
    // Removed meanwhile.
    return listed.error().code == ErrorCode::kNotFound ? Result<>() : Result<>(listed.error());
  }
  const auto json = Json::parse(*listed, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("nftables")) {
    return MakeError(ErrorCode::kInternal, "nft: cannot read the table " + table.Name());
  }
  for (const auto& item : json["nftables"]) {
    if (item.is_object() && item.contains("set")) {
      ReadFact(table, item["set"]);
    }
  }
  return {};
}

}  // namespace

std::string AddressTable::Name() const {
  return std::string(role == AddressRole::kRoute ? kRoutePrefix : kTargetPrefix) + id;
}

Result<> WriteAddressTable(const AddressTable& table) {
  // In one transaction, so that a repeated set-up leaves no gap in which a packet goes astray.
  std::ostringstream out;
  out << TRY(internal::ResetNftTable({"inet", table.Name()})) << "\ntable inet " << table.Name()
      << " {\n";
  AppendFacts(out, table);
  for (const auto& family : kFamilies) {
    AppendTranslation(out, table, family);
  }
  AppendChains(out, table);
  out << "}\n";
  TRY(RunNft(out.str()));
  return {};
}

Result<> RemoveAddressTable(const AddressTable& table) {
  return internal::RetireNftTable({"inet", table.Name()});
}

Result<> ForgetRemote(const AddressTable& table, const std::string& address) {
  auto deleted = RunNft("delete element inet " + table.Name() + " remote" +
                        (IsSix(address) ? "6" : "4") + " { " + address + " }");
  if (!deleted && deleted.error().code != ErrorCode::kNotFound) {
    return Error(std::move(deleted).error());
  }
  return {};
}

Result<std::vector<AddressTable>> AddressTables() {
  std::vector<AddressTable> tables;
  std::istringstream lines(TRY(RunNft("list tables inet")));
  for (std::string line; std::getline(lines, line);) {
    for (auto [role, prefix] : {std::pair(AddressRole::kRoute, kRoutePrefix),
                                std::pair(AddressRole::kTarget, kTargetPrefix)}) {
      const std::string start = "table inet " + std::string(prefix);
      if (line.starts_with(start) && IsMigrationId(line.substr(start.size())) &&
          !internal::IsRetired({"inet", std::string(prefix) + line.substr(start.size())})) {
        AddressTable table;
        table.role = role;
        table.id = line.substr(start.size());
        TRY(ReadFacts(table));
        tables.push_back(std::move(table));
      }
    }
  }
  return tables;
}

}  // namespace migrate::internal
