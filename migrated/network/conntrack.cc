#include "migrated/network/conntrack.h"

#include <arpa/inet.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <mutex>
#include <sstream>

#include "base/scope_exit.h"
#include "migrated/network/hook_lease.h"
#include "migrated/network/in_netns.h"
#include "migrated/network/nft.h"

namespace migrate {
namespace {

constexpr std::uint32_t kEstablishedTimeout = 432000;  // the kernel's own default
constexpr std::uint32_t kClosingTimeout = 120;
constexpr std::uint32_t kUdpTimeout = 120;
constexpr const char* kGuardTable = kConntrackGuardTable;

struct HandleDeleter {
  void operator()(nfct_handle* handle) const { nfct_close(handle); }
};
struct EntryDeleter {
  void operator()(nf_conntrack* entry) const { nfct_destroy(entry); }
};
using Handle = std::unique_ptr<nfct_handle, HandleDeleter>;
using KernelEntry = std::unique_ptr<nf_conntrack, EntryDeleter>;

Result<Handle> OpenHandle() {
  Handle handle(nfct_open(CONNTRACK, 0));
  if (!handle) {
    return ErrnoError("conntrack socket");
  }
  return handle;
}

int FamilyOf(const std::string& address) {
  return address.find(':') == std::string::npos ? AF_INET : AF_INET6;
}

// The library has an attribute for each family.
struct AddressAttribute {
  nf_conntrack_attr four;
  nf_conntrack_attr six;
};
constexpr AddressAttribute kOriginalSource{ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC};
constexpr AddressAttribute kOriginalDestination{ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST};
constexpr AddressAttribute kReplySource{ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC};
constexpr AddressAttribute kReplyDestination{ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST};
constexpr AddressAttribute kNewSource{ATTR_SNAT_IPV4, ATTR_SNAT_IPV6};
constexpr AddressAttribute kNewDestination{ATTR_DNAT_IPV4, ATTR_DNAT_IPV6};

std::string GetAddress(const nf_conntrack* kernel, AddressAttribute attribute) {
  int family = nfct_get_attr_u8(kernel, ATTR_ORIG_L3PROTO);
  const void* bytes = nfct_get_attr(kernel, family == AF_INET6 ? attribute.six : attribute.four);
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (bytes == nullptr || inet_ntop(family, bytes, text.data(), text.size()) == nullptr) {
    return {};
  }
  return text.data();
}

// Only for addresses that came from the kernel or were checked by the caller.
void SetAddress(nf_conntrack* kernel, AddressAttribute attribute, const std::string& text) {
  const int family = FamilyOf(text);
  std::array<std::uint8_t, sizeof(in6_addr)> bytes{};
  inet_pton(family, text.c_str(), bytes.data());
  nfct_set_attr(kernel, family == AF_INET6 ? attribute.six : attribute.four, bytes.data());
}

int OnEntry(enum nf_conntrack_msg_type, nf_conntrack* kernel, void* data) {
  auto protocol = nfct_get_attr_u8(kernel, ATTR_ORIG_L4PROTO);
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) {
    return NFCT_CB_CONTINUE;
  }
  ConntrackEntry entry;
  entry.protocol = static_cast<Protocol>(protocol);
  entry.original = {GetAddress(kernel, kOriginalSource),
                    ntohs(nfct_get_attr_u16(kernel, ATTR_ORIG_PORT_SRC)),
                    GetAddress(kernel, kOriginalDestination),
                    ntohs(nfct_get_attr_u16(kernel, ATTR_ORIG_PORT_DST))};
  entry.reply = {
      GetAddress(kernel, kReplySource), ntohs(nfct_get_attr_u16(kernel, ATTR_REPL_PORT_SRC)),
      GetAddress(kernel, kReplyDestination), ntohs(nfct_get_attr_u16(kernel, ATTR_REPL_PORT_DST))};
  if (entry.protocol == Protocol::kTcp) {
    entry.tcp_state = nfct_get_attr_u8(kernel, ATTR_TCP_STATE);
  }
  auto status = nfct_get_attr_u32(kernel, ATTR_STATUS);
  entry.seen_reply = (status & IPS_SEEN_REPLY) != 0;
  entry.assured = (status & IPS_ASSURED) != 0;
  entry.timeout = nfct_get_attr_u32(kernel, ATTR_TIMEOUT);
  entry.mark = nfct_get_attr_u32(kernel, ATTR_MARK);
  entry.zone = nfct_get_attr_u16(kernel, ATTR_ZONE);
  static_cast<std::vector<ConntrackEntry>*>(data)->push_back(std::move(entry));
  return NFCT_CB_CONTINUE;
}

Result<std::vector<ConntrackEntry>> ListHere() {
  auto handle = TRY(OpenHandle());
  std::vector<ConntrackEntry> entries;
  nfct_callback_register(handle.get(), NFCT_T_ALL, OnEntry, &entries);
  std::uint32_t family = AF_UNSPEC;
  if (nfct_query(handle.get(), NFCT_Q_DUMP, &family) != 0) {
    return ErrnoError("list connection tracking entries");
  }
  return entries;
}

// The original tuple: enough to find or delete an entry.
KernelEntry Key(const ConntrackEntry& entry) {
  KernelEntry kernel(nfct_new());
  auto* raw = kernel.get();
  nfct_set_attr_u8(raw, ATTR_ORIG_L3PROTO,
                   static_cast<std::uint8_t>(FamilyOf(entry.original.source_address)));
  nfct_set_attr_u8(raw, ATTR_ORIG_L4PROTO, static_cast<std::uint8_t>(entry.protocol));
  SetAddress(raw, kOriginalSource, entry.original.source_address);
  SetAddress(raw, kOriginalDestination, entry.original.destination_address);
  nfct_set_attr_u16(raw, ATTR_ORIG_PORT_SRC, htons(entry.original.source_port));
  nfct_set_attr_u16(raw, ATTR_ORIG_PORT_DST, htons(entry.original.destination_port));
  if (entry.zone != 0) {
    nfct_set_attr_u16(raw, ATTR_ZONE, entry.zone);
  }
  return kernel;
}

// The entry has not seen the connection's windows, so it must not judge them.
void SetLooseTcp(nf_conntrack* raw, std::uint8_t state) {
  nfct_set_attr_u8(raw, ATTR_TCP_STATE, state);
  for (auto attribute :
       {ATTR_TCP_FLAGS_ORIG, ATTR_TCP_FLAGS_REPL, ATTR_TCP_MASK_ORIG, ATTR_TCP_MASK_REPL}) {
    nfct_set_attr_u8(raw, attribute, IP_CT_TCP_FLAG_BE_LIBERAL);
  }
}

KernelEntry ToKernel(const ConntrackEntry& entry) {
  auto kernel = Key(entry);
  auto* raw = kernel.get();
  // The plain inverse; the kernel alters it when it sets up the translation below.
  nfct_setobjopt(raw, NFCT_SOPT_SETUP_REPLY);
  const auto& original = entry.original;
  const auto& reply = entry.reply;
  if (reply.source_address != original.destination_address ||
      reply.source_port != original.destination_port) {
    SetAddress(raw, kNewDestination, reply.source_address);
    nfct_set_attr_u16(raw, ATTR_DNAT_PORT, htons(reply.source_port));
  }
  if (reply.destination_address != original.source_address ||
      reply.destination_port != original.source_port) {
    SetAddress(raw, kNewSource, reply.destination_address);
    nfct_set_attr_u16(raw, ATTR_SNAT_PORT, htons(reply.destination_port));
  }
  std::uint32_t status = 0;
  status |= entry.seen_reply ? static_cast<std::uint32_t>(IPS_SEEN_REPLY) : 0;
  status |= entry.assured ? static_cast<std::uint32_t>(IPS_ASSURED) : 0;
  nfct_set_attr_u32(raw, ATTR_STATUS, status);
  nfct_set_attr_u32(raw, ATTR_TIMEOUT, entry.timeout);
  if (entry.mark != 0) {
    nfct_set_attr_u32(raw, ATTR_MARK, entry.mark);
  }
  if (entry.protocol == Protocol::kTcp) {
    SetLooseTcp(raw, entry.tcp_state);
  }
  return kernel;
}

Result<> DeleteHere(nfct_handle* handle, const ConntrackEntry& entry) {
  auto key = Key(entry);
  if (nfct_query(handle, NFCT_Q_DESTROY, key.get()) != 0 && errno != ENOENT) {
    return ErrnoError("delete a connection tracking entry");
  }
  return {};
}

// Whether the entry of this original tuple has this reply tuple as well.
bool ExistsHere(nfct_handle* handle, const ConntrackEntry& entry) {
  std::vector<ConntrackEntry> found;
  nfct_callback_register(handle, NFCT_T_ALL, OnEntry, &found);
  auto key = Key(entry);
  int status = nfct_query(handle, NFCT_Q_GET, key.get());
  nfct_callback_unregister(handle);
  return status == 0 && !found.empty() && found.front().reply == entry.reply;
}

Result<> CreateHere(nfct_handle* handle, const ConntrackEntry& entry) {
  auto kernel = ToKernel(entry);
  if (nfct_query(handle, NFCT_Q_CREATE, kernel.get()) == 0) {
    return {};
  }
  auto error = ErrnoError(
      "create a connection tracking entry for " + entry.original.source_address + ":" +
      std::to_string(entry.original.source_port) + " -> " + entry.original.destination_address +
      ":" + std::to_string(entry.original.destination_port));
  if (error.code == ErrorCode::kAlreadyExists && ExistsHere(handle, entry)) {
    return {};
  }
  return error;
}

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool Lives(const ConntrackEntry& entry) {
  if (entry.protocol == Protocol::kUdp) {
    return true;
  }
  switch (entry.tcp_state) {
    case TCP_CONNTRACK_ESTABLISHED:
    case TCP_CONNTRACK_FIN_WAIT:
    case TCP_CONNTRACK_CLOSE_WAIT:
    case TCP_CONNTRACK_LAST_ACK:
      return true;
    default:
      return false;
  }
}

// As the container sees it, whichever end opened it.
bool IsOneOf(const ConntrackEntry& entry, const std::vector<Connection>& connections) {
  const auto& in = entry.reply;
  const auto& out = entry.original;
  return std::any_of(connections.begin(), connections.end(), [&](const Connection& connection) {
    return connection == Connection{entry.protocol, in.source_address, in.source_port,
                                    in.destination_address, in.destination_port} ||
           connection == Connection{entry.protocol, out.source_address, out.source_port,
                                    out.destination_address, out.destination_port};
  });
}

void AppendGuardTuple(std::ostream& out, const std::string& table, Protocol protocol,
                      const ConntrackTuple& tuple) {
  out << "add element " << table << " moving { " << ProtocolName(protocol) << " . "
      << tuple.source_address << " . " << tuple.source_port << " . " << tuple.destination_address
      << " . " << tuple.destination_port << " }\n";
}

std::string GuardCommands(const std::string& family, const std::vector<ConntrackMove>& moves) {
  const auto table = family + " " + kGuardTable;
  const std::string address = family == "ip6" ? "ipv6_addr" : "ipv4_addr";
  std::ostringstream out;
  out << "add table " << table << "\nadd set " << table << " moving { type inet_proto . " << address
      << " . inet_service . " << address << " . inet_service; }\n";
  for (const auto& move : moves) {
    AppendGuardTuple(out, table, move.before.protocol, move.before.original);
    AppendGuardTuple(out, table, move.before.protocol, move.before.reply);
  }
  // In front of connection tracking, but behind the hold queue: what that releases goes on from
  // there, and nothing that it holds is for us to drop.
  for (const char* hook : {"prerouting", "output"}) {
    out << "add chain " << table << " " << hook << " { type filter hook " << hook << " priority "
        << internal::kGuardPriority << "; }\nadd rule " << table << " " << hook
        << " meta l4proto . " << family << " saddr . th sport . " << family
        << " daddr . th dport @moving drop\n";
  }
  return out.str();
}

Result<std::vector<ConntrackMove>> ApplyOfFamily(const std::string& family,
                                                 const std::vector<ConntrackMove>& moves) {
  const internal::NftTable guard{family, kGuardTable};
  auto handle = TRY(OpenHandle());
  TRY(RunNft(TRY(internal::ResetNftTable(guard)) + GuardCommands(family, moves)));
  ScopeExit remove_guard([&] { (void)internal::RetireNftTable(guard); });
  // All old ones first: a new tuple may be the old tuple of another move.
  for (const auto& move : moves) {
    TRY(DeleteHere(handle.get(), move.before));
  }
  std::vector<ConntrackMove> lost;
  for (const auto& move : moves) {
    auto created = CreateHere(handle.get(), move.after);
    if (created) {
      continue;
    }
    if (created.error().code != ErrorCode::kAlreadyExists) {
      return Error(std::move(created).error());
    }
    lost.push_back(move);
  }
  return lost;
}

Result<std::vector<ConntrackMove>> ApplyHere(const std::vector<ConntrackMove>& moves) {
  // One guard at a time: it is the same table for all.
  static std::mutex guard_mutex;
  std::lock_guard lock(guard_mutex);
  std::vector<ConntrackMove> all_lost;
  for (const int family : {AF_INET, AF_INET6}) {
    std::vector<ConntrackMove> of_family;
    std::copy_if(moves.begin(), moves.end(), std::back_inserter(of_family),
                 [&](const ConntrackMove& move) {
                   return FamilyOf(move.before.original.source_address) == family;
                 });
    if (of_family.empty()) {
      continue;
    }
    auto lost = ApplyOfFamily(family == AF_INET6 ? "ip6" : "ip", of_family);
    if (!lost && family == AF_INET6) {
      lost = std::move(of_family);  // a kernel that lacks something loses these alone
    }
    for (auto& move : TRY(std::move(lost))) {
      all_lost.push_back(std::move(move));
    }
  }
  return all_lost;
}

bool Touches(const ConntrackEntry& entry, const std::string& address) {
  return entry.original.source_address == address || entry.reply.source_address == address ||
         entry.original.destination_address == address ||
         entry.reply.destination_address == address;
}

}  // namespace

Result<std::vector<ConntrackEntry>> ListConntrack(FdRef netns) {
  return ValueInNetns<std::vector<ConntrackEntry>>(netns, ListHere);
}

Result<> DeleteConntrack(FdRef netns, const ConntrackEntry& entry) {
  return InNetns(netns, [&]() -> Result<> {
    auto handle = TRY(OpenHandle());
    return DeleteHere(handle.get(), entry);
  });
}

Result<> CreateConntrack(FdRef netns, const ConntrackEntry& entry) {
  return InNetns(netns, [&]() -> Result<> {
    auto handle = TRY(OpenHandle());
    return CreateHere(handle.get(), entry);
  });
}

std::vector<ConntrackMove> PlanConntrackMoves(const std::vector<ConntrackEntry>& entries,
                                              const std::vector<std::string>& from,
                                              const std::string& to,
                                              const std::vector<Connection>& alive) {
  std::vector<ConntrackMove> moves;
  for (const auto& entry : entries) {
    bool outbound = Contains(from, entry.original.source_address);
    bool inbound = Contains(from, entry.reply.source_address);
    const bool lives = Lives(entry);
    if ((!outbound && !inbound) || (!lives && !IsOneOf(entry, alive))) {
      continue;
    }
    ConntrackEntry after = entry;
    if (!lives) {
      after.tcp_state = TCP_CONNTRACK_ESTABLISHED;
    }
    if (outbound) {
      after.original.source_address = to;
    }
    if (inbound) {
      after.reply.source_address = to;
    }
    if (outbound && entry.reply.destination_address == entry.original.source_address) {
      // Not masqueraded, e.g. to a neighbour. Written as if the peer had opened it: Docker deletes
      // what has the container's address in its reply tuple, now and later.
      after.original = entry.reply;
      after.reply = {to, entry.original.source_port, entry.original.destination_address,
                     entry.original.destination_port};
    }
    if (entry.protocol == Protocol::kTcp) {
      after.seen_reply = after.assured = true;
      bool established = after.tcp_state == TCP_CONNTRACK_ESTABLISHED;
      after.timeout = std::max(entry.timeout, established ? kEstablishedTimeout : kClosingTimeout);
    } else {
      after.timeout = std::max(entry.timeout, kUdpTimeout);
    }
    moves.push_back({entry, after});
  }
  return moves;
}

std::vector<ConntrackMove> ReverseConntrackMoves(const std::vector<ConntrackMove>& moves) {
  std::vector<ConntrackMove> reversed;
  for (const auto& move : moves) {
    reversed.push_back({move.after, move.before});
  }
  return reversed;
}

Result<std::vector<ConntrackMove>> ApplyConntrackMoves(FdRef netns,
                                                       const std::vector<ConntrackMove>& moves) {
  if (moves.empty()) {
    return std::vector<ConntrackMove>{};
  }
  return ValueInNetns<std::vector<ConntrackMove>>(netns, [&] { return ApplyHere(moves); });
}

Result<> LoosenConntrackOf(FdRef netns, const std::string& address) {
  return InNetns(netns, [&]() -> Result<> {
    auto handle = TRY(OpenHandle());
    for (const auto& entry : TRY(ListHere())) {
      if (entry.protocol != Protocol::kTcp || !Touches(entry, address)) {
        continue;
      }
      auto kernel = Key(entry);
      SetLooseTcp(kernel.get(), entry.tcp_state);
      if (nfct_query(handle.get(), NFCT_Q_UPDATE, kernel.get()) != 0 && errno != ENOENT) {
        return ErrnoError("change a connection tracking entry");
      }
    }
    return {};
  });
}

Result<> DeleteConntrackOf(FdRef netns, const std::string& address) {
  return InNetns(netns, [&]() -> Result<> {
    auto entries = TRY(ListHere());
    auto handle = TRY(OpenHandle());
    for (const auto& entry : entries) {
      if (Touches(entry, address)) {
        TRY(DeleteHere(handle.get(), entry));
      }
    }
    return {};
  });
}

}  // namespace migrate
