#include "migrated/source_traffic.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "base/netns.h"
#include "migrated/fault_point.h"
#include "migrated/hold_keeper.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/stand_in.h"
#include "migrated/relays.h"
#include "migrated/settle.h"

namespace migrate {
namespace {

// Longer than this nobody's connection survives anyway; large containers are frozen for long.
constexpr auto kHoldLimit = std::chrono::seconds(60);
// At an origin, which does not see whether this daemon lives: its clients must not wait longer.
constexpr auto kOriginHoldLimit = std::chrono::seconds(15);
constexpr auto kHoldCallTimeout = std::chrono::seconds(2);

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

std::string MacOf(const ContainerInfo& container, const std::string& address) {
  for (const Endpoint& endpoint : container.endpoints) {
    if (endpoint.ipv4 == address || endpoint.ipv6 == address) {
      return endpoint.mac;
    }
  }
  return {};
}

}  // namespace

HoldSpec MakeHoldSpec(const std::string& id, const std::vector<RelayPort>& ports,
                      const std::vector<std::string>& addresses,
                      const std::vector<ConntrackEntry>& entries) {
  HoldSpec spec;
  spec.id = id;
  spec.ports = ports;
  spec.addresses = addresses;
  spec.time_limit = kHoldLimit;
  for (const ConntrackEntry& entry : entries) {
    // As it comes in: what the other end sends, before it is translated.
    if (Contains(addresses, entry.reply.source_address)) {
      spec.tuples.push_back({entry.protocol, entry.original});
    } else if (Contains(addresses, entry.original.source_address)) {
      spec.tuples.push_back({entry.protocol, entry.reply});
    }
  }
  return spec;
}

Result<> SourceTraffic::Register(const ContainerInfo& container, const v1::Relay& own_relay) {
  container_ = container;
  own_relay_ = own_relay;
  v1::UndoItem* hold = record_.add_undo();
  hold->set_kind(v1::UndoItem::HOLD);
  hold->set_name(record_.migration().id());
  if (own_relay.id().empty()) {
    return {};
  }
  stand_ins_ = TRY(StandInsOf(node_, own_relay, container.name));
  for (const StandIn& stand_in : stand_ins_) {
    v1::UndoItem* item = record_.add_undo();
    item->set_kind(v1::UndoItem::STAND_IN);
    item->set_name(stand_in.address);
    item->set_detail(stand_in.id + " " + stand_in.bridge + " " +
                     MacOf(container, stand_in.address));
  }
  return {};
}

Result<HoldSpec> SourceTraffic::Spec() const {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  std::vector<std::string> addresses;
  for (const Endpoint& endpoint : container_.endpoints) {
    for (const std::string& address : {endpoint.ipv4, endpoint.ipv6}) {
      if (!address.empty()) {
        addresses.push_back(address);
      }
    }
  }
  if (!own_relay_.id().empty()) {
    addresses.push_back(own_relay_.relay_address());  // the container may have come back
    if (!own_relay_.relay_address6().empty()) {
      addresses.push_back(own_relay_.relay_address6());
    }
  }
  return MakeHoldSpec(record_.migration().id(), RelayPortsOf(own_relay_), addresses,
                      TRY(ListConntrack(host)));
}

Result<> SourceTraffic::HoldNew(FdRef container_netns, const std::stop_token& stop) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  HoldSpec spec = TRY(Spec());
  spec.only_new = true;
  if (const Result<> possible = CheckHold(host); !possible) {
    // As good as before there were holds: what is dropped is sent again by its sender.
    spdlog::warn("packets are dropped during the move: {}", possible.error().message);
    holds_ = false;
  } else {
    TRY(node_.holds().Hold(host, spec));
  }
  HoldAtOrigins(/*only_new=*/true);
  TRY(Fault(FaultPoint::kHolding));
  return WaitUntilSettled(container_netns, stop);
}

Result<> SourceTraffic::HoldAll(FdRef container_netns) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  const HoldSpec spec = TRY(Spec());
  // The far ones first: while one takes its time, clients of this host go on.
  const auto there = HoldAtOrigins(/*only_new=*/false);
  held_since_ = std::min(there, std::chrono::steady_clock::now());
  if (holds_) {
    TRY(node_.holds().Hold(host, spec));
  }
  const Unsettled left = TRY(WaitForLastBytes(container_netns));
  if (left.unaccepted > 0) {
    return MakeError(ErrorCode::kUnavailable, "a connection came in at the last moment",
                     "UNSETTLED");
  }
  return {};
}

Result<> SourceTraffic::TakeAddresses() {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  for (const StandIn& stand_in : stand_ins_) {
    TRY(TakeAddress(host, stand_in));
  }
  return {};
}

PeerClient* SourceTraffic::Origin(const v1::Relay& relay) {
  if (relay.origin_endpoint() == target_.endpoint()) {
    return &target_;
  }
  auto& client = origins_[relay.origin_endpoint()];
  if (!client) {
    if (auto connected = node_.ConnectPeer(relay.origin_endpoint())) {
      client = std::move(*connected);
    }
  }
  return client.get();
}

// An origin that does not answer holds nothing: its clients lose the packets of the move, which
// they send again.
SourceTraffic::TimePoint SourceTraffic::HoldAtOrigins(bool only_new) {
  bool at_target = false;
  std::vector<std::pair<std::string, std::future<Hold>>> calls;
  for (const v1::Relay& relay : record_.lineage().relays()) {
    if (relay.origin_node() == node_.config().node_name || silent_.contains(relay.id())) {
      continue;
    }
    if (PeerClient* origin = Origin(relay)) {
      calls.emplace_back(relay.id(),
                         std::async(std::launch::async, [this, &relay, origin, only_new] {
                           return HoldAt(*origin, relay.id(), only_new);
                         }));
      at_target = at_target || origin == &target_;
    }
  }
  auto since = TimePoint::max();
  for (auto& [id, call] : calls) {
    const Hold hold = call.get();
    since = std::min(since, hold.since);
    if (!hold.answered) {
      silent_.insert(id);
    }
  }
  // It may route to the address already, from an earlier stay of the container there.
  if (record_.has_address_move() && !at_target) {
    since = std::min(since, HoldAt(target_, "", only_new).since);
  }
  return since;
}

SourceTraffic::Hold SourceTraffic::HoldAt(PeerClient& peer, const std::string& relay_id,
                                          bool only_new) {
  v1::HoldRelayRequest request;
  request.set_migration_id(record_.migration().id());
  request.set_relay_id(relay_id);
  *request.mutable_addresses() = record_.address_move().addresses();
  request.set_hold_ms(
      std::chrono::duration_cast<std::chrono::milliseconds>(kOriginHoldLimit).count());
  request.set_only_new(only_new);
  const auto held = peer.HoldRelay(request, {.timeout = kHoldCallTimeout});
  if (!held) {
    spdlog::warn("migration {}: {} does not hold: {}", record_.migration().id(), peer.endpoint(),
                 held.error().message);
    return {.answered = held.error().reason != "PEER_UNREACHABLE"};
  }
  const std::chrono::duration<double, std::milli> held_for(held->held_for_ms());
  return {.since = std::chrono::steady_clock::now() -
                   std::chrono::duration_cast<std::chrono::steady_clock::duration>(held_for)};
}

void SourceTraffic::ReleaseOrigins() {
  v1::ReleaseHoldRequest request;
  request.set_migration_id(record_.migration().id());
  // At once: one that does not answer must not keep the clients of another waiting.
  std::vector<std::future<void>> calls;
  for (const v1::Relay& relay : record_.lineage().relays()) {
    PeerClient* origin = relay.origin_node() == node_.config().node_name ? nullptr : Origin(relay);
    if (origin == nullptr) {
      continue;
    }
    calls.push_back(std::async(std::launch::async, [&request, &relay, origin] {
      if (auto released = origin->ReleaseHold(request, {.timeout = kHoldCallTimeout}); !released) {
        spdlog::warn("relay {}: {}: {}", relay.id(), relay.origin_node(), released.error().message);
      }
    }));
  }
}

HoldStats SourceTraffic::Release() {
  const HoldStats held = node_.holds().Release(record_.migration().id());
  ReleaseOrigins();
  return held;
}

}  // namespace migrate
