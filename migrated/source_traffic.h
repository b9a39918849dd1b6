// What becomes of a container's traffic at the source between the moment before the freeze and the
// hand-off: packets for it are held (network/hold_queue.h) here and at the origins of its relays,
// connections in the making get a moment to be made (settle.h), and this host answers for the
// container's address on its bridges (network/stand_in.h), so that the neighbours' packets are held
// as well.
//
// Everything is in the undo list of the record before it is done. Release() lets go; an abort runs
// the undo list instead. Used by one thread.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>

#include "migrated/docker/docker_types.h"
#include "migrated/network/hold_queue.h"
#include "migrated/node.h"
#include "migrated/peer_client.h"
#include "migrated/progress.h"
#include "proto/journal.pb.h"

namespace migrate {

// Pure. `entries`: connection tracking of the host; `ports` and `addresses`: of the container here,
// or of a relay. Held is what leads to one of the ports or addresses and what belongs to a tracked
// connection of an address.
HoldSpec MakeHoldSpec(const std::string& id, const std::vector<RelayPort>& ports,
                      const std::vector<std::string>& addresses,
                      const std::vector<ConntrackEntry>& entries);

class SourceTraffic {
 public:
  SourceTraffic(Node& node, v1::MigrationRecord& record, PeerClient& target)
      : node_(node), record_(record), target_(target) {}

  // What will be done, into the undo list; to be saved before any of it is done. `own_relay`: the
  // one of this host, without an id if there is none.
  Result<> Register(const ContainerInfo& container, const v1::Relay& own_relay);

  // The container runs on: new connections wait, those in the making get ready.
  Result<> HoldNew(FdRef container_netns, const std::stop_token& stop);
  // From here on nothing reaches the container, and clients wait.
  Result<> HoldAll(FdRef container_netns);
  // With the container frozen and locked: its neighbours talk to this host instead.
  Result<> TakeAddresses();

  // Relays whose origins did not answer: these are not asked again while clients wait.
  const std::set<std::string>& silent() const { return silent_; }

  // From when on clients waited.
  std::chrono::steady_clock::time_point held_since() const { return held_since_; }
  // False: this kernel cannot, and drops.
  bool holds() const { return holds_; }
  const std::vector<StandIn>& stand_ins() const { return stand_ins_; }

  // After the hand-off. What was held here; the origins are told to let go as well.
  HoldStats Release();
  // After an abort, when the undo list has been run: the origins.
  void ReleaseOrigins();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Hold {
    bool answered = true;
    TimePoint since = TimePoint::max();  // as far as is known
  };

  Result<HoldSpec> Spec() const;
  // Since when the first of them holds.
  TimePoint HoldAtOrigins(bool only_new);
  Hold HoldAt(PeerClient& peer, const std::string& relay_id, bool only_new);
  PeerClient* Origin(const v1::Relay& relay);

  Node& node_;
  v1::MigrationRecord& record_;
  PeerClient& target_;
  ContainerInfo container_;
  v1::Relay own_relay_;
  std::vector<StandIn> stand_ins_;
  std::map<std::string, std::unique_ptr<PeerClient>> origins_;  // by endpoint
  std::set<std::string> silent_;
  std::chrono::steady_clock::time_point held_since_{};
  bool holds_ = true;  // false: this kernel cannot
};

}  // namespace migrate
