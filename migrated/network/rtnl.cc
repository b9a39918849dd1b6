#include "migrated/network/rtnl.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/vxlan.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <functional>

namespace migrate {
namespace {

template <auto Put>
struct Putter {
  template <typename T>
  void operator()(T* object) const {
    Put(object);
  }
};
using Address = std::unique_ptr<nl_addr, Putter<nl_addr_put>>;
using Link = std::unique_ptr<rtnl_link, Putter<rtnl_link_put>>;
using LinkAddress = std::unique_ptr<rtnl_addr, Putter<rtnl_addr_put>>;
using Neighbour = std::unique_ptr<rtnl_neigh, Putter<rtnl_neigh_put>>;
using Route = std::unique_ptr<rtnl_route, Putter<rtnl_route_put>>;
using Rule = std::unique_ptr<rtnl_rule, Putter<rtnl_rule_put>>;
constexpr std::uint32_t kForever = 0xffffffff;  // of an address, in seconds

using Cache = std::unique_ptr<nl_cache, Putter<nl_cache_free>>;

Error NlError(const std::string& what, int error) {
  auto code = ErrorCode::kInternal;
  switch (-error) {
    case NLE_EXIST:
      code = ErrorCode::kAlreadyExists;
      break;
    case NLE_OBJ_NOTFOUND:
    case NLE_NODEV:
      code = ErrorCode::kNotFound;
      break;
    case NLE_PERM:
      code = ErrorCode::kPermissionDenied;
      break;
    case NLE_INVAL:
    case NLE_RANGE:
      code = ErrorCode::kInvalidArgument;
      break;
    default:
      break;
  }
  return MakeError(code, what + ": " + nl_geterror(error));
}

int FamilyOf(const std::string& address) {
  return address.find(':') == std::string::npos ? AF_INET : AF_INET6;
}

Result<Address> ParseAddress(const std::string& text, int family = AF_INET) {
  nl_addr* address = nullptr;
  if (int error = nl_addr_parse(text.c_str(), family, &address); error < 0) {
    return NlError("address \"" + text + "\"", error);
  }
  return Address(address);
}

std::string Text(const nl_addr* address) {
  if (address == nullptr) {
    return {};
  }
  std::array<char, 64> text{};
  std::string result = nl_addr2str(address, text.data(), text.size());
  if (result == "none" || result == "default") {
    return nl_addr_get_family(address) == AF_INET6 ? "::/0" : "0.0.0.0/0";
  }
  return result;
}

// nl_addr2str leaves out the length of a host address.
std::string PrefixText(const nl_addr* address) {
  auto text = Text(address);
  if (text.empty() || text.find('/') != std::string::npos) {
    return text;
  }
  return text + (FamilyOf(text) == AF_INET ? "/32" : "/128");
}

using Allocate = std::function<int(nl_cache**)>;
Result<Cache> Fetch(const char* what, const Allocate& allocate) {
  nl_cache* cache = nullptr;
  if (int error = allocate(&cache); error < 0) {
    return NlError(std::string("list ") + what, error);
  }
  return Cache(cache);
}

template <typename T>
void ForEach(const Cache& cache, const std::function<void(T*)>& visit) {
  for (auto* item = nl_cache_get_first(cache.get()); item != nullptr;
       item = nl_cache_get_next(item)) {
    visit(reinterpret_cast<T*>(item));
  }
}

std::string NameOf(const Cache& links, int index) {
  std::array<char, IFNAMSIZ> name{};
  const char* found = rtnl_link_i2name(links.get(), index, name.data(), name.size());
  return found == nullptr ? std::string() : found;
}

Result<Cache> FetchLinks(nl_sock* socket) {
  return Fetch("links",
               [=](nl_cache** cache) { return rtnl_link_alloc_cache(socket, AF_UNSPEC, cache); });
}

RouteInfo ToRouteInfo(rtnl_route* route, const Cache& links) {
  RouteInfo info;
  info.destination = PrefixText(rtnl_route_get_dst(route));
  info.table = rtnl_route_get_table(route);
  info.protocol = rtnl_route_get_protocol(route);
  info.metric = rtnl_route_get_priority(route);
  if (rtnl_route_get_nnexthops(route) > 0) {
    auto* hop = rtnl_route_nexthop_n(route, 0);
    info.gateway = Text(rtnl_route_nh_get_gateway(hop));
    info.link = NameOf(links, rtnl_route_nh_get_ifindex(hop));
  }
  return info;
}

// The ends are all that can be changed in a device that exists.
Result<> SetVxlanEnds(rtnl_link* raw, const VxlanLink& link) {
  auto local = TRY(ParseAddress(link.local_address));
  auto remote = TRY(ParseAddress(link.remote_address));
  rtnl_link_vxlan_set_local(raw, local.get());
  rtnl_link_vxlan_set_group(raw, remote.get());
  return {};
}

}  // namespace

void Rtnl::SocketDeleter::operator()(nl_sock* socket) const { nl_socket_free(socket); }

Result<Rtnl> Rtnl::Open() {
  Rtnl rtnl(nl_socket_alloc());
  if (!rtnl.socket_) {
    return MakeError(ErrorCode::kResourceExhausted, "no netlink socket");
  }
  if (int error = nl_connect(rtnl.socket_.get(), NETLINK_ROUTE); error < 0) {
    return NlError("netlink", error);
  }
  return rtnl;
}

Result<> Rtnl::CreateVxlan(const VxlanLink& link, FdRef device_netns) {
  Link request(rtnl_link_vxlan_alloc());
  auto* raw = request.get();
  rtnl_link_set_name(raw, link.name.c_str());
  auto mac = TRY(ParseAddress(link.mac, AF_LLC));
  rtnl_link_set_addr(raw, mac.get());
  rtnl_link_set_mtu(raw, link.mtu);
  rtnl_link_vxlan_set_id(raw, link.vni);
  rtnl_link_vxlan_set_port(raw, link.udp_port);
  rtnl_link_vxlan_set_learning(raw, 0);
  TRY(SetVxlanEnds(raw, link));
  if (device_netns) {
    rtnl_link_set_ns_fd(raw, device_netns.get());
  }
  if (int error = rtnl_link_add(socket_.get(), raw, NLM_F_CREATE | NLM_F_EXCL); error < 0) {
    return NlError("create tunnel device " + link.name, error);
  }
  return {};
}

Result<> Rtnl::ChangeVxlanEnds(const VxlanLink& link) {
  Link change(rtnl_link_vxlan_alloc());
  TRY(SetVxlanEnds(change.get(), link));
  rtnl_link_set_name(change.get(), link.name.c_str());
  if (int error = rtnl_link_add(socket_.get(), change.get(), 0); error < 0) {
    return NlError("change tunnel device " + link.name, error);
  }
  return {};
}

Result<> Rtnl::DeleteLink(const std::string& name) {
  Link link(rtnl_link_alloc());
  rtnl_link_set_name(link.get(), name.c_str());
  int error = rtnl_link_delete(socket_.get(), link.get());
  if (error < 0 && error != -NLE_NODEV && error != -NLE_OBJ_NOTFOUND) {
    return NlError("delete device " + name, error);
  }
  return {};
}

Result<> Rtnl::SetLinkUp(const std::string& name) {
  Link original(rtnl_link_alloc());
  Link change(rtnl_link_alloc());
  rtnl_link_set_ifindex(original.get(), TRY(LinkIndex(name)));
  rtnl_link_set_flags(change.get(), IFF_UP);
  if (int error = rtnl_link_change(socket_.get(), original.get(), change.get(), 0); error < 0) {
    return NlError("set device " + name + " up", error);
  }
  return {};
}

Result<int> Rtnl::LinkIndex(const std::string& name) {
  rtnl_link* found = nullptr;
  int error = rtnl_link_get_kernel(socket_.get(), 0, name.c_str(), &found);
  if (error == -NLE_NODEV || error == -NLE_OBJ_NOTFOUND) {
    return 0;
  }
  if (error < 0) {
    return NlError("look up device " + name, error);
  }
  Link link(found);
  return rtnl_link_get_ifindex(link.get());
}

Result<std::vector<std::string>> Rtnl::LinkNames() {
  auto links = TRY(FetchLinks(socket_.get()));
  std::vector<std::string> names;
  ForEach<rtnl_link>(links, [&](rtnl_link* link) { names.push_back(rtnl_link_get_name(link)); });
  return names;
}

Result<std::vector<LinkInfo>> Rtnl::Links() {
  auto links = TRY(FetchLinks(socket_.get()));
  std::vector<LinkInfo> found;
  ForEach<rtnl_link>(links, [&](rtnl_link* link) {
    const char* kind = rtnl_link_get_type(link);
    int master = rtnl_link_get_master(link);
    found.push_back({rtnl_link_get_name(link), kind == nullptr ? "" : kind,
                     master == 0 ? "" : NameOf(links, master),
                     (rtnl_link_get_flags(link) & IFF_UP) != 0, rtnl_link_get_mtu(link)});
  });
  return found;
}

Result<> Rtnl::AddAddress(const std::string& link, const std::string& address,
                          const std::string& label) {
  const int family = FamilyOf(address);
  auto local = TRY(ParseAddress(address, family));
  LinkAddress request(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(request.get(), TRY(LinkIndex(link)));
  rtnl_addr_set_local(request.get(), local.get());
  if (!label.empty()) {
    rtnl_addr_set_label(request.get(), label.c_str());
  }
  if (family == AF_INET6) {
    rtnl_addr_set_flags(request.get(), IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
    rtnl_addr_set_valid_lifetime(request.get(), kForever);
    rtnl_addr_set_preferred_lifetime(request.get(), 0);
  }
  int error = rtnl_addr_add(socket_.get(), request.get(), 0);
  if (error < 0 && error != -NLE_EXIST) {
    return NlError("add address " + address + " to " + link, error);
  }
  return {};
}

Result<> Rtnl::DeleteAddress(const AddressInfo& address) {
  auto local = TRY(ParseAddress(address.address, FamilyOf(address.address)));
  LinkAddress request(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(request.get(), TRY(LinkIndex(address.link)));
  rtnl_addr_set_local(request.get(), local.get());
  int error = rtnl_addr_delete(socket_.get(), request.get(), 0);
  if (error < 0 && error != -NLE_NOADDR && error != -NLE_OBJ_NOTFOUND) {
    return NlError("delete address " + address.address + " of " + address.link, error);
  }
  return {};
}

Result<std::vector<AddressInfo>> Rtnl::Addresses(int family) {
  auto links = TRY(FetchLinks(socket_.get()));
  auto cache = TRY(Fetch(
      "addresses", [&](nl_cache** out) { return rtnl_addr_alloc_cache(socket_.get(), out); }));
  std::vector<AddressInfo> found;
  ForEach<rtnl_addr>(cache, [&](rtnl_addr* item) {
    if (rtnl_addr_get_family(item) == family) {
      const char* label = rtnl_addr_get_label(item);
      found.push_back({PrefixText(rtnl_addr_get_local(item)),
                       NameOf(links, rtnl_addr_get_ifindex(item)), label == nullptr ? "" : label});
    }
  });
  return found;
}

Result<> Rtnl::SetNeighbour(const std::string& link, const std::string& address,
                            const std::string& mac, bool for_good) {
  auto destination = TRY(ParseAddress(address, FamilyOf(address)));
  auto lladdr = TRY(ParseAddress(mac, AF_LLC));
  Neighbour request(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(request.get(), TRY(LinkIndex(link)));
  rtnl_neigh_set_dst(request.get(), destination.get());
  rtnl_neigh_set_lladdr(request.get(), lladdr.get());
  rtnl_neigh_set_state(request.get(), for_good ? NUD_PERMANENT : NUD_STALE);
  if (int error = rtnl_neigh_add(socket_.get(), request.get(), NLM_F_CREATE | NLM_F_REPLACE);
      error < 0) {
    return NlError("set neighbour " + address + " on " + link, error);
  }
  return {};
}

Result<> Rtnl::AddProxyNeighbour(const std::string& link, const std::string& address) {
  auto destination = TRY(ParseAddress(address, FamilyOf(address)));
  Neighbour request(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(request.get(), TRY(LinkIndex(link)));
  rtnl_neigh_set_dst(request.get(), destination.get());
  rtnl_neigh_set_flags(request.get(), NTF_PROXY);
  if (int error = rtnl_neigh_add(socket_.get(), request.get(), NLM_F_CREATE | NLM_F_REPLACE);
      error < 0) {
    return NlError("answer for " + address + " on " + link, error);
  }
  return {};
}

Result<> Rtnl::DeleteProxyNeighbour(const std::string& link, const std::string& address) {
  auto destination = TRY(ParseAddress(address, FamilyOf(address)));
  int index = TRY(LinkIndex(link));
  if (index == 0) {
    return {};
  }
  Neighbour request(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(request.get(), index);
  rtnl_neigh_set_dst(request.get(), destination.get());
  rtnl_neigh_set_flags(request.get(), NTF_PROXY);
  int error = rtnl_neigh_delete(socket_.get(), request.get(), 0);
  if (error < 0 && error != -NLE_OBJ_NOTFOUND && error != -NLE_NODEV) {
    return NlError("stop answering for " + address + " on " + link, error);
  }
  return {};
}

Result<> Rtnl::SetRoute(const RouteSpec& route) {
  const int family = FamilyOf(route.destination);
  auto destination = TRY(ParseAddress(route.destination, family));
  Route request(rtnl_route_alloc());
  auto* raw = request.get();
  rtnl_route_set_family(raw, static_cast<std::uint8_t>(family));
  rtnl_route_set_table(raw, route.table);
  rtnl_route_set_protocol(raw, kRouteProtocol);
  rtnl_route_set_type(raw, route.is_throw ? RTN_THROW : RTN_UNICAST);
  rtnl_route_set_scope(
      raw, route.gateway.empty() && !route.is_throw ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
  rtnl_route_set_dst(raw, destination.get());
  if (!route.local_source.empty()) {
    auto source = TRY(ParseAddress(route.local_source, family));
    rtnl_route_set_type(raw, RTN_LOCAL);
    rtnl_route_set_scope(raw, RT_SCOPE_HOST);
    rtnl_route_set_pref_src(raw, source.get());
  }
  if (route.is_local) {
    rtnl_route_set_type(raw, RTN_LOCAL);
    rtnl_route_set_scope(raw, RT_SCOPE_HOST);
  }
  if (route.metric != 0) {
    rtnl_route_set_priority(raw, route.metric);
  }
  if (route.locked_mtu != 0) {
    rtnl_route_set_metric(raw, RTAX_MTU, route.locked_mtu);
    rtnl_route_set_metric(raw, RTAX_LOCK, 1U << RTAX_MTU);
  }
  if (!route.is_throw) {
    auto* hop = rtnl_route_nh_alloc();
    rtnl_route_add_nexthop(raw, hop);  // from here on the route owns it
    rtnl_route_nh_set_ifindex(hop, TRY(LinkIndex(route.link)));
    if (!route.gateway.empty()) {
      auto gateway = TRY(ParseAddress(route.gateway, family));
      rtnl_route_nh_set_gateway(hop, gateway.get());
      rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
    }
  }
  if (int error = rtnl_route_add(socket_.get(), raw, NLM_F_CREATE | NLM_F_REPLACE); error < 0) {
    return NlError("set route " + route.destination + " dev " + route.link, error);
  }
  return {};
}

Result<> Rtnl::DeleteRoute(const RouteInfo& route) {
  const int family = FamilyOf(route.destination);
  auto destination = TRY(ParseAddress(route.destination, family));
  Route request(rtnl_route_alloc());
  rtnl_route_set_family(request.get(), static_cast<std::uint8_t>(family));
  rtnl_route_set_table(request.get(), route.table);
  rtnl_route_set_protocol(request.get(), route.protocol);
  rtnl_route_set_type(request.get(), RTN_UNSPEC);
  rtnl_route_set_scope(request.get(), RT_SCOPE_NOWHERE);
  if (route.metric != 0) {
    rtnl_route_set_priority(request.get(), route.metric);
  }
  rtnl_route_set_dst(request.get(), destination.get());
  int error = rtnl_route_delete(socket_.get(), request.get(), 0);
  if (error < 0 && error != -NLE_OBJ_NOTFOUND && error != -NLE_NODEV) {
    return NlError("delete route " + route.destination, error);
  }
  return {};
}

Result<std::vector<RouteInfo>> Rtnl::Routes(int family) {
  auto links = TRY(FetchLinks(socket_.get()));
  auto cache = TRY(Fetch("routes", [&](nl_cache** out) {
    return rtnl_route_alloc_cache(socket_.get(), family, 0, out);
  }));
  std::vector<RouteInfo> found;
  ForEach<rtnl_route>(cache, [&](rtnl_route* item) { found.push_back(ToRouteInfo(item, links)); });
  return found;
}

Result<std::optional<RouteInfo>> Rtnl::RouteTo(const std::string& address) {
  auto destination = TRY(ParseAddress(address, FamilyOf(address)));
  auto links = TRY(FetchLinks(socket_.get()));
  rtnl_route* looked_up = nullptr;
  // The kernel's answer where there is no route is an error of several kinds.
  if (rtnl_route_lookup(socket_.get(), destination.get(), &looked_up) < 0) {
    return std::optional<RouteInfo>{};
  }
  Route route(looked_up);
  if (rtnl_route_get_type(route.get()) != RTN_UNICAST) {
    return std::optional<RouteInfo>{};
  }
  return std::optional(ToRouteInfo(route.get(), links));
}

Result<> Rtnl::AddRule(const RuleInfo& rule) {
  const int family = FamilyOf(rule.source);
  for (const auto& existing : TRY(Rules(family))) {
    if (existing.table == rule.table && existing.source == rule.source) {
      return {};
    }
  }
  auto source = TRY(ParseAddress(rule.source, family));
  Rule request(rtnl_rule_alloc());
  rtnl_rule_set_family(request.get(), family);
  rtnl_rule_set_src(request.get(), source.get());
  rtnl_rule_set_table(request.get(), rule.table);
  rtnl_rule_set_prio(request.get(), rule.priority);
  rtnl_rule_set_action(request.get(), FR_ACT_TO_TBL);
  if (int error = rtnl_rule_add(socket_.get(), request.get(), NLM_F_CREATE); error < 0) {
    return NlError("add the rule from " + rule.source, error);
  }
  return {};
}

Result<> Rtnl::DeleteRules(std::uint32_t table, int family) {
  for (const auto& rule : TRY(Rules(family))) {
    if (rule.table != table) {
      continue;
    }
    auto source = TRY(ParseAddress(rule.source, family));
    Rule request(rtnl_rule_alloc());
    rtnl_rule_set_family(request.get(), family);
    rtnl_rule_set_src(request.get(), source.get());
    rtnl_rule_set_table(request.get(), table);
    rtnl_rule_set_prio(request.get(), rule.priority);
    int error = rtnl_rule_delete(socket_.get(), request.get(), 0);
    if (error < 0 && error != -NLE_OBJ_NOTFOUND) {
      return NlError("delete the rule from " + rule.source, error);
    }
  }
  return {};
}

Result<> Rtnl::SetLocalRulePriority(std::uint32_t priority, int family) {
  auto make = [family](std::uint32_t at) {
    Rule rule(rtnl_rule_alloc());
    rtnl_rule_set_family(rule.get(), family);
    rtnl_rule_set_table(rule.get(), RT_TABLE_LOCAL);
    rtnl_rule_set_prio(rule.get(), at);
    rtnl_rule_set_action(rule.get(), FR_ACT_TO_TBL);
    return rule;
  };
  auto rules = TRY(Rules(family));
  std::erase_if(rules, [](const RuleInfo& rule) {
    return rule.table != RT_TABLE_LOCAL || !rule.source.empty();
  });
  auto in_place = [=](const RuleInfo& rule) { return rule.priority == priority; };
  // Added first: without the rule the namespace has no address of its own.
  if (std::none_of(rules.begin(), rules.end(), in_place)) {
    if (int error = rtnl_rule_add(socket_.get(), make(priority).get(), NLM_F_CREATE); error < 0) {
      return NlError("add the rule for local addresses", error);
    }
  }
  for (const auto& rule : rules) {
    if (!in_place(rule)) {  // to delete, 0 means the first of any priority: it is at 0
      int error = rtnl_rule_delete(socket_.get(), make(rule.priority).get(), 0);
      if (error < 0 && error != -NLE_OBJ_NOTFOUND) {
        return NlError("delete the rule for local addresses", error);
      }
    }
  }
  return {};
}

Result<std::vector<RuleInfo>> Rtnl::Rules(int family) {
  auto cache = TRY(Fetch(
      "rules", [&](nl_cache** out) { return rtnl_rule_alloc_cache(socket_.get(), family, out); }));
  std::vector<RuleInfo> found;
  ForEach<rtnl_rule>(cache, [&](rtnl_rule* item) {
    // The library asks for all families.
    if (rtnl_rule_get_family(item) == family) {
      found.push_back({PrefixText(rtnl_rule_get_src(item)), rtnl_rule_get_table(item),
                       rtnl_rule_get_prio(item)});
    }
  });
  return found;
}

}  // namespace migrate
