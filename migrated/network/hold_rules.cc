#include "migrated/network/hold_rules.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <sstream>

#include "base/check.h"
#include "base/ids.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/nfqueue.h"

namespace migrate::internal {
namespace {

constexpr char kIpv4[] = "ip";
constexpr char kIpv6[] = "ip6";
constexpr std::size_t kElementsPerCommand = 256;

// Empty if it is not an address.
std::string FamilyOf(const std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  if (inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) {
    return kIpv4;
  }
  return inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1 ? kIpv6 : "";
}

// One text for each address, so that elements compare.
std::string Canonical(const std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = FamilyOf(address) == kIpv4 ? AF_INET : AF_INET6;
  CHECK(inet_pton(family, address.c_str(), bytes.data()) == 1);
  return inet_ntop(family, bytes.data(), text.data(), text.size());
}

// Of a published port: at every address of the family?
bool AtAnyAddress(const std::string& host_address) {
  return host_address.empty() || host_address == "0.0.0.0" || host_address == "::";
}

bool PortIsOf(const RelayPort& port, const std::string& family) {
  return port.host_address.empty() || FamilyOf(port.host_address) == family;
}

bool TupleIsOf(const HoldTuple& tuple, const std::string& family) {
  return FamilyOf(tuple.tuple.destination_address) == family;
}

// `elements` without those of `others`.
void AppendChange(std::ostream& out, const std::string& verb, const std::string& set,
                  const std::set<std::string>& elements, const std::set<std::string>& others) {
  std::vector<std::string> changed;
  std::set_difference(elements.begin(), elements.end(), others.begin(), others.end(),
                      std::back_inserter(changed));
  for (std::size_t i = 0; i < changed.size(); ++i) {
    bool first = i % kElementsPerCommand == 0;
    bool last = i + 1 == changed.size() || (i + 1) % kElementsPerCommand == 0;
    out << (first ? verb + " element " + set + " { " : ", ") << changed[i] << (last ? " }\n" : "");
  }
}

Error Invalid(const std::string& what) {
  return MakeError(ErrorCode::kInvalidArgument, "hold: " + what);
}

}  // namespace

std::string HoldTableName(std::string_view id) {
  return std::string(kHoldTablePrefix) + std::string(id);
}

Result<> ValidateHold(const HoldSpec& spec) {
  if (!IsMigrationId(spec.id)) {
    return Invalid("\"" + spec.id + "\" is not a migration id");
  }
  for (const auto& port : spec.ports) {
    if (port.host_port == 0 ||
        (!port.host_address.empty() && FamilyOf(port.host_address).empty())) {
      return Invalid("published port \"" + port.host_address +
                     "\":" + std::to_string(port.host_port));
    }
  }
  for (const auto& [protocol, tuple] : spec.tuples) {
    auto family = FamilyOf(tuple.source_address);
    if (family.empty() || family != FamilyOf(tuple.destination_address)) {
      return Invalid("tuple \"" + tuple.source_address + "\" to \"" + tuple.destination_address +
                     "\"");
    }
  }
  for (const auto& address : spec.addresses) {
    if (FamilyOf(address).empty()) {
      return Invalid("\"" + address + "\" is not an address");
    }
  }
  if (spec.max_packets == 0 || spec.max_bytes == 0 || spec.time_limit.count() <= 0) {
    return Invalid("a bound is zero");
  }
  return {};
}

std::vector<std::string> HoldFamilies(const HoldSpec& spec, bool with_ipv6) {
  std::vector<std::string> families;
  for (const std::string family : {kIpv4, kIpv6}) {
    auto is_of = [&](const std::string& address) { return FamilyOf(address) == family; };
    bool ports = std::any_of(spec.ports.begin(), spec.ports.end(), [&](const RelayPort& port) {
      return PortIsOf(port, family) && (family == kIpv4 || with_ipv6 || !port.host_address.empty());
    });
    if (ports || std::any_of(spec.addresses.begin(), spec.addresses.end(), is_of) ||
        std::any_of(spec.tuples.begin(), spec.tuples.end(),
                    [&](const HoldTuple& tuple) { return TupleIsOf(tuple, family); })) {
      families.push_back(family);
    }
  }
  return families;
}

std::string HoldFrameCommands(const std::string& family, const std::string& table, int order,
                              const std::string& queue_rule) {
  const std::string address = family == kIpv4 ? "ipv4_addr" : "ipv6_addr";
  const auto priority = std::to_string(std::min(kHoldPriority + order, kLastHoldPriority));
  const auto number = std::to_string(order);
  const std::string enqueue = std::string(" goto ") + kHoldQueueChain + "\n";
  std::ostringstream out;
  out << "table " << family << " " << table << " {\n"
      << "  set everything { type " << address << "; flags interval; }\n"
      << "  set tuples { type inet_proto . " << address << " . inet_service . " << address
      << " . inet_service; }\n"
      << "  set addresses { type " << address << "; }\n"
      << "  set ports { type inet_proto . inet_service; }\n"
      << "  set bound_ports { type inet_proto . " << address << " . inet_service; }\n"
      << "  chain " << kHoldQueueChain << " {\n"
      << queue_rule << "\n }\n"
      << "  chain select {\n"
      << "    meta l4proto . " << family << " saddr . th sport . " << family
      << " daddr . th dport @tuples" << enqueue << "    " << family << " daddr @addresses"
      << enqueue << "    meta l4proto . " << family << " daddr . th dport @bound_ports" << enqueue
      << "    meta l4proto . th dport @ports fib daddr type local" << enqueue << "  }\n"
      << "  chain match {\n    " << family << " daddr @everything goto select\n"
      << "    tcp flags & (syn | ack) == syn goto select\n  }\n"
      // What comes from the loopback device has been through the output hook. The number in the
      // name: a table that is used again may still have the base chains of its first time.
      << "  chain prerouting" << number << " {\n    type filter hook prerouting priority "
      << priority << ";\n    iif \"lo\" return\n    jump match\n  }\n"
      << "  chain output" << number << " {\n    type filter hook output priority " << priority
      << ";\n    jump match\n  }\n"
      // Locally made packets have their route before they are queued. A change of the mark makes
      // the kernel look for it again, once with our mark and, here, finally without.
      << "  chain reroute" << number << " {\n    type route hook output priority "
      << kReroutePriority << ";\n    meta mark " << kRerouteMark << " meta mark set 0\n  }\n"
      << "}\n";
  return out.str();
}

HoldElements HoldElementsOf(const std::string& family, const HoldSpec& spec) {
  HoldElements sets;
  if (!spec.only_new) {
    sets["everything"].insert(family == kIpv4 ? "0.0.0.0/0" : "::/0");
  }
  for (const auto& item : spec.tuples) {
    if (TupleIsOf(item, family)) {
      const auto& tuple = item.tuple;
      sets["tuples"].insert(
          std::string(ProtocolName(item.protocol)) + " . " + Canonical(tuple.source_address) +
          " . " + std::to_string(tuple.source_port) + " . " + Canonical(tuple.destination_address) +
          " . " + std::to_string(tuple.destination_port));
    }
  }
  for (const auto& address : spec.addresses) {
    if (FamilyOf(address) == family) {
      sets["addresses"].insert(Canonical(address));
    }
  }
  for (const auto& port : spec.ports) {
    auto protocol = std::string(ProtocolName(port.protocol)) + " . ";
    auto number = std::to_string(port.host_port);
    if (!PortIsOf(port, family)) {
      continue;
    }
    if (AtAnyAddress(port.host_address)) {
      sets["ports"].insert(protocol + number);
    } else {
      sets["bound_ports"].insert(protocol + Canonical(port.host_address) + " . " + number);
    }
  }
  return sets;
}

std::string HoldChangeCommands(const std::string& family, const std::string& table,
                               const HoldElements& before, const HoldElements& after) {
  const auto name = family + " " + table + " ";
  const auto of = [](const HoldElements& elements, const std::string& set) {
    auto found = elements.find(set);
    return found == elements.end() ? std::set<std::string>() : found->second;
  };
  std::ostringstream out;
  for (const char* set : {"everything", "tuples", "addresses", "ports", "bound_ports"}) {
    AppendChange(out, "add", name + set, of(after, set), of(before, set));
    AppendChange(out, "delete", name + set, of(before, set), of(after, set));
  }
  return out.str();
}

std::string HoldStopCommands(const std::string& family, const std::string& table) {
  return "insert rule " + family + " " + table + " match return\n";
}

}  // namespace migrate::internal
