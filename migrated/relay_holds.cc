// The part of an origin in a move between two other hosts, or back to it: see relays.h.
#include <unistd.h>

#include <chrono>

#include "base/netns.h"
#include "migrated/fault_point.h"
#include "migrated/hold_keeper.h"
#include "migrated/network/conntrack.h"
#include "migrated/relays.h"
#include "migrated/source_traffic.h"

namespace migrate {

Result<v1::HoldRelayReply> HoldRelayFor(Node& node, const v1::HoldRelayRequest& request) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  std::vector<RelayPort> ports;
  std::vector<std::string> addresses(request.addresses().begin(), request.addresses().end());
  bool found = request.relay_id().empty();
  for (const v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    const v1::Relay& relay = record.own_relay();
    if (relay.id().empty() || relay.id() != request.relay_id()) {
      continue;
    }
    found = true;
    ports = RelayPortsOf(relay);
    addresses.push_back(relay.relay_address());
    if (!relay.relay_address6().empty()) {
      addresses.push_back(relay.relay_address6());
    }
    for (const StandIn& stand_in : TRY(FindStandIns(host))) {
      if (stand_in.id == relay.id()) {
        addresses.push_back(stand_in.address);
      }
    }
  }
  if (!found) {
    return MakeError(ErrorCode::kNotFound, "no relay " + request.relay_id() + " on this host");
  }
  HoldSpec spec = MakeHoldSpec(request.migration_id(), ports, addresses, TRY(ListConntrack(host)));
  spec.only_new = request.only_new();
  if (request.hold_ms() > 0) {
    spec.time_limit = std::min<std::chrono::milliseconds>(
        spec.time_limit, std::chrono::milliseconds(request.hold_ms()));
  }
  const auto start = std::chrono::steady_clock::now();
  TRY(node.holds().Hold(host, spec));
  TRY(Fault(spec.only_new ? FaultPoint::kOriginHoldsNew : FaultPoint::kOriginHolds));
  v1::HoldRelayReply reply;
  reply.set_held_for_ms(
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  return reply;
}

Result<v1::ReleaseHoldReply> ReleaseHoldFor(Node& node, const v1::ReleaseHoldRequest& request) {
  TRY(Fault(FaultPoint::kOriginReleasing));
  const HoldStats held = node.holds().Release(request.migration_id());
  v1::ReleaseHoldReply reply;
  reply.set_packets(held.packets);
  reply.set_bytes(held.bytes);
  reply.set_dropped(held.dropped + held.lost);
  return reply;
}

}  // namespace migrate
