#include "migrated/network/forward_accept.h"

#include <fcntl.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <sstream>
#include <vector>

#include "base/file_util.h"
#include "base/owned_fd.h"
#include "migrated/network/nft.h"

namespace migrate::internal {
namespace {

// "" if the chain, e.g. "ip filter FORWARD", does not exist.
Result<std::string> ListChain(const std::string& chain) {
  auto listed = RunNft("list chain " + chain, NftOutput::kHandles);
  if (!listed && listed.error().code == ErrorCode::kNotFound) {
    return std::string();
  }
  return listed;
}

// Of the tables that iptables-legacy makes, which nftables does not show.
Result<bool> LegacyForwardDrops() {
  // Asking for a table would create it; the list tells whether it exists. /proc/net would be that
  // of the program's first thread.
  auto names = ReadSmallFile("/proc/thread-self/net/ip_tables_names");
  if (!names || ("\n" + *names).find("\nfilter\n") == std::string::npos) {
    return false;
  }
  OwnedFd socket(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!socket) {
    return ErrnoError("raw socket for the iptables-legacy firewall");
  }
  ipt_getinfo info{};
  std::strcpy(info.name, "filter");
  socklen_t size = sizeof info;
  if (getsockopt(socket.get(), IPPROTO_IP, IPT_SO_GET_INFO, &info, &size) != 0) {
    return ErrnoError("read the iptables-legacy firewall");
  }
  std::vector<char> blob(sizeof(ipt_get_entries) + info.size);
  auto* request = reinterpret_cast<ipt_get_entries*>(blob.data());
  std::strcpy(request->name, "filter");
  request->size = info.size;
  size = static_cast<socklen_t>(blob.size());
  if (getsockopt(socket.get(), IPPROTO_IP, IPT_SO_GET_ENTRIES, request, &size) != 0) {
    return ErrnoError("read the iptables-legacy firewall");
  }
  const char* policy = blob.data() + sizeof(ipt_get_entries) + info.underflow[NF_INET_FORWARD];
  ipt_entry entry;
  std::memcpy(&entry, policy, sizeof entry);
  xt_standard_target target;
  std::memcpy(&target, policy + entry.target_offset, sizeof target);
  return target.verdict == -NF_DROP - 1;
}

std::string UserChain(const std::string& family) { return family + " filter DOCKER-USER"; }
std::string ForwardChain(const std::string& family) { return family + " filter FORWARD"; }

// The one in which what is forwarded can be accepted; "" if there is none. Docker before 25 makes
// no DOCKER-USER of IPv6: then the chain that it made for itself, behind whose first rules it only
// ever adds its own for its own bridges.
Result<std::string> ChainToOpen(const std::string& family) {
  if (!TRY(ListChain(UserChain(family))).empty()) {
    return UserChain(family);
  }
  const bool dockers =
      family == "ip6" &&
      TRY(ListChain(ForwardChain(family))).find("jump DOCKER-") != std::string::npos;
  return dockers ? ForwardChain(family) : std::string();
}

Result<> DeleteRules(const std::string& chain,
                     const std::function<bool(const std::string&)>& ours) {
  std::istringstream listed(TRY(ListChain(chain)));
  std::string commands;
  for (std::string line; std::getline(listed, line);) {
    const auto handle = line.find("# handle ");
    if (handle != std::string::npos && ours(line)) {
      commands += "delete rule " + chain + " handle " + line.substr(handle + 9) + "\n";
    }
  }
  if (!commands.empty()) {
    TRY(RunNft(commands));
  }
  return {};
}

Result<> DeleteMarked(const std::string& family, const std::string& mark,
                      const std::string& address) {
  for (const auto& chain : {UserChain(family), ForwardChain(family), family + " raw PREROUTING"}) {
    TRY(DeleteRules(chain, [&](const std::string& line) {
      return line.find("comment \"" + mark + "\"") != std::string::npos &&
             (address.empty() || line.find("addr " + address + " ") != std::string::npos);
    }));
  }
  return {};
}

std::string AcceptRule(const char* direction, const std::string& link) {
  return std::string(direction) + " \"" + link + "\" counter accept";
}

}  // namespace

Result<> CheckForwarding() { return CheckForwardingOf(AF_INET); }

Result<> CheckForwardingOf(int family) {
  const bool six = family == AF_INET6;
  auto forward = ReadSmallFile(six ? "/proc/sys/net/ipv6/conf/all/forwarding"
                                   : "/proc/sys/net/ipv4/ip_forward");
  if (!forward || !forward->starts_with("1")) {
    return six ? MakeError(
                     ErrorCode::kFailedPrecondition,
                     "IPv6 forwarding is off on this host; set net.ipv6.conf.all.forwarding=1",
                     "IPV6_FORWARD_OFF")
               : MakeError(ErrorCode::kFailedPrecondition,
                           "IPv4 forwarding is off on this host; set net.ipv4.ip_forward=1",
                           "IP_FORWARD_OFF");
  }
  if (!six && TRY(LegacyForwardDrops())) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "the firewall of iptables-legacy drops forwarded packets, and only that of "
                     "iptables-nft can be opened; let Docker use iptables-nft",
                     "FIREWALL_LEGACY");
  }
  const std::string word = six ? "ip6" : "ip";
  if (TRY(ChainToOpen(word)).empty() &&
      TRY(ListChain(ForwardChain(word))).find("policy drop") != std::string::npos) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "the firewall drops forwarded packets and has no DOCKER-USER chain in which "
                     "they could be accepted",
                     "FIREWALL_DROPS");
  }
  return {};
}

Result<bool> FiltersForwardedIpv6() {
  const auto forward = TRY(ListChain(ForwardChain("ip6")));
  return forward.find("policy drop") != std::string::npos ||
         forward.find("DOCKER") != std::string::npos;
}

Result<> AcceptForwarding(const std::string& link, const std::string& family) {
  const auto chain = TRY(ChainToOpen(family));
  if (chain.empty()) {
    return {};
  }
  const auto listed = TRY(ListChain(chain));
  // Only the simplest matches: a rule that iptables cannot read makes it refuse the whole table,
  // and Docker with it.
  std::string commands;
  for (const char* direction : {"oifname", "iifname"}) {
    auto rule = AcceptRule(direction, link);
    if (listed.find(rule) == std::string::npos) {
      commands += "insert rule " + chain + " " + rule + "\n";
    }
  }
  if (!commands.empty()) {
    TRY(RunNft(commands));
  }
  return {};
}

Result<> RevokeForwarding(const std::string& link, const std::string& family) {
  for (const auto& chain : {UserChain(family), ForwardChain(family)}) {
    TRY(DeleteRules(chain, [&](const std::string& line) {
      return line.find("ifname \"" + link + "\"") != std::string::npos;
    }));
  }
  return {};
}

Result<> AcceptAddress(const std::string& address, const std::string& mark) {
  const std::string family = address.find(':') == std::string::npos ? "ip" : "ip6";
  std::string commands;
  for (const auto& chain : {TRY(ChainToOpen(family)), family + " raw PREROUTING"}) {
    const auto listed = chain.empty() ? std::string() : TRY(ListChain(chain));
    if (listed.empty()) {
      continue;
    }
    for (const char* direction : {" daddr ", " saddr "}) {
      auto rule = family + direction + address + " counter accept comment \"" + mark + "\"";
      // Without counters in the listing "counter" stays.
      if (listed.find(rule) == std::string::npos) {
        commands += "insert rule " + chain + " " + rule + "\n";
      }
    }
  }
  if (!commands.empty()) {
    TRY(RunNft(commands));
  }
  return {};
}

Result<> RevokeAddress(const std::string& address, const std::string& mark) {
  return DeleteMarked(address.find(':') == std::string::npos ? "ip" : "ip6", mark, address);
}

Result<> RevokeAddresses(const std::string& mark) {
  for (const char* family : {"ip", "ip6"}) {
    TRY(DeleteMarked(family, mark, {}));
  }
  return {};
}

}  // namespace migrate::internal
