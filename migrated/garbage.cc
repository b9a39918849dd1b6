#include "migrated/garbage.h"

#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/cgroup.h"
#include "base/netns.h"
#include "migrated/hold_keeper.h"
#include "migrated/host_undo.h"
#include "migrated/network/address_move.h"
#include "migrated/network/conntrack.h"
#include "migrated/network/nft.h"
#include "migrated/network/relay.h"
#include "migrated/network/stand_in.h"
#include "migrated/oci_runtime/standing_plan.h"
#include "migrated/relays.h"

namespace migrate {
namespace {

class Collector {
 public:
  Collector(Node& node, Registry& registry, const v1::CollectGarbageRequest& request)
      : node_(node), registry_(registry), request_(request) {}

  Result<v1::CollectGarbageResponse> Run() {
    TRY(UndoLists());
    TRY(Directories());
    TRY(MovedContainers());
    TRY(MigrationsUnderWay());
    StrayTickets();
    const OwnedFd host = TRY(OpenNetns(getpid()));
    TRY(StrayRelays(host));
    TRY(StrayStandIns(host));
    TRY(StrayAddressRoutes(host));
    TRY(StrayHolds(host));
    TRY(StrayGuard(host));
    return std::move(response_);
  }

 private:
  // Reports an item and, if asked for, removes it.
  template <typename Remove>
  void Item(const std::string& kind, const std::string& name, const std::string& migration_id,
            const Remove& remove) {
    v1::GarbageItem* item = response_.add_items();
    item->set_kind(kind);
    item->set_name(name);
    item->set_migration_id(migration_id);
    if (!request_.remove()) {
      return;
    }
    const Result<> removed = remove();
    item->set_removed(removed.has_value());
    if (!removed) {
      item->set_detail(removed.error().message);
    }
  }

  Result<> UndoLists() {
    for (v1::MigrationRecord& record : TRY(node_.journal().Migrations())) {
      const std::string id = record.migration().id();
      if (record.undo_size() == 0 || registry_.IsActive(id)) {
        continue;
      }
      v1::MigrationRecord left = record;
      left.clear_undo();
      for (int i = record.undo_size() - 1; i >= 0; --i) {
        const v1::UndoItem& undo = record.undo(i);
        Item(v1::UndoItem::Kind_Name(undo.kind()), undo.name(), id, [&]() -> Result<> {
          Result<> done = Settle(record, undo);
          if (!done) {
            *left.add_undo() = undo;
          }
          return done;
        });
      }
      if (request_.remove()) {
        TRY(node_.journal().Put(left));
      }
    }
    return {};
  }

  Result<> Settle(const v1::MigrationRecord& record, const v1::UndoItem& undo) {
    switch (HowToSettle(record, undo)) {
      case Leftover::kForget:
        return {};
      case Leftover::kKill:
        return std::filesystem::exists(undo.name()) ? KillCgroup(undo.name()) : Result<>();
      case Leftover::kUndo:
        break;
    }
    TRY(UndoOnHost(node_, undo));
    return {};
  }

  Result<> Directories() {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(node_.config().state_dir + "/migrations", error)) {
      const std::string id = entry.path().filename();
      if (!registry_.IsActive(id)) {
        Item("directory", entry.path(), id, [&]() -> Result<> {
          std::error_code failed;
          std::filesystem::remove_all(entry.path(), failed);
          return failed ? Result<>(ErrnoError("remove", failed.value())) : Result<>();
        });
      }
    }
    return {};
  }

  Result<> MovedContainers() {
    for (const v1::LineageRecord& record : TRY(node_.journal().Lineages())) {
      NoteRelays(record.lineage());
      if (!record.own_relay().id().empty()) {
        live_relays_.insert(record.own_relay().id());
      }
      const auto container = node_.docker().InspectContainer(record.container_id());
      const bool gone = !container && container.error().code == ErrorCode::kNotFound;
      // The remains of a container that left still lead its clients to it; what belongs to a
      // container that was removed here leads nowhere.
      if (record.moved_away() ? !request_.moved_containers() : !gone) {
        continue;
      }
      Item(gone ? "lineage" : "moved container", record.container_id().substr(0, 12), "",
           [&] { return RemoveMoved(record); });
    }
    return {};
  }

  Result<> RemoveMoved(const v1::LineageRecord& record) {
    Result<> removed =
        node_.docker().RemoveContainer(record.container_id(), /*force=*/false, /*volumes=*/true);
    if (!removed && removed.error().code != ErrorCode::kNotFound) {
      return removed;
    }
    TRY(RemoveStandingPlan(node_.config().runtime_state_dir, record.container_id()));
    const OwnedFd host = TRY(OpenNetns(getpid()));
    TRY(RemoveAddressTarget(host, record.lineage().id()));
    TRY(RemoveAddressRoute(host, record.lineage().id()));
    if (!record.own_relay().id().empty()) {
      TRY(RemoveOwnRelay(node_, record.own_relay()));
    }
    return node_.journal().EraseLineage(record.lineage().id());
  }

  void NoteRelays(const v1::Lineage& lineage) {
    lineages_.insert(lineage.id());
    for (const v1::Relay& relay : lineage.relays()) {
      live_relays_.insert(relay.id());
    }
  }

  // What they have made is in no lineage of the journal yet.
  Result<> MigrationsUnderWay() {
    for (const v1::MigrationRecord& record : TRY(node_.journal().Migrations())) {
      if (!registry_.IsActive(record.migration().id())) {
        continue;
      }
      any_active_ = true;
      NoteRelays(record.lineage());
      active_replicas_.insert(record.replica_id());
      for (const v1::UndoItem& item : record.undo()) {
        if (item.kind() == v1::UndoItem::STAND_IN) {
          live_relays_.insert(item.detail().substr(0, item.detail().find(' ')));
        }
      }
    }
    return {};
  }

  // What a runtime wrote after its migration had ended, or a daemon that died while it wrote.
  void StrayTickets() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(
             node_.config().runtime_state_dir + "/tickets", error)) {
      const std::string name = entry.path().filename();
      if (!active_replicas_.contains(name.substr(0, name.find('.')))) {
        Item("ticket", entry.path(), "", [&]() -> Result<> {
          std::error_code failed;
          std::filesystem::remove(entry.path(), failed);
          return failed ? Result<>(ErrnoError("remove", failed.value())) : Result<>();
        });
      }
    }
  }

  // Relays on this host that no lineage of the journal knows, and so on.
  Result<> StrayRelays(FdRef host) {
    for (const std::string& id : TRY(FindRelays(host)).relay_ids) {
      if (!live_relays_.contains(id)) {
        Item("relay", id, "", [&] { return RemoveOrigin(host, id); });
      }
    }
    return {};
  }

  Result<> StrayStandIns(FdRef host) {
    for (const StandIn& stand_in : TRY(FindStandIns(host))) {
      if (!live_relays_.contains(stand_in.id)) {
        Item("stand-in", stand_in.address + " on " + stand_in.bridge, "",
             [&] { return RemoveStandIn(host, stand_in.id, stand_in.address); });
      }
    }
    return {};
  }

  Result<> StrayAddressRoutes(FdRef host) {
    const AddressTraces traces = TRY(FindAddressRoutes(host));
    for (const AddressRoute& route : traces.routes) {
      if (!lineages_.contains(route.id)) {
        Item("address route", route.id, "", [&] { return RemoveAddressRoute(host, route.id); });
      }
    }
    for (const std::string& id : traces.targets) {
      if (!lineages_.contains(id)) {
        Item("moved address", id, "", [&] { return RemoveAddressTarget(host, id); });
      }
    }
    return {};
  }

  Result<> StrayHolds(FdRef host) {
    for (const std::string& id : TRY(FindHolds(host))) {
      if (!registry_.IsActive(id) && !node_.holds().Has(id)) {
        Item("hold", id, id, [&] { return RemoveHold(host, id); });
      }
    }
    return {};
  }

  // Stands for the moment of ApplyConntrackMoves(), of which nobody else knows.
  Result<> StrayGuard(FdRef host) {
    bool exists = false;
    TRY(InNetns(host, [&]() -> Result<> {
      exists = TRY(NftTableExists("ip", kConntrackGuardTable)) ||
               TRY(NftTableExists("ip6", kConntrackGuardTable));
      return {};
    }));
    if (exists && !any_active_) {
      Item("guard", kConntrackGuardTable, "", [&] {
        return InNetns(host, []() -> Result<> {
          TRY(RemoveNftTable("ip6", kConntrackGuardTable));
          return RemoveNftTable("ip", kConntrackGuardTable);
        });
      });
    }
    return {};
  }

  Node& node_;
  Registry& registry_;
  const v1::CollectGarbageRequest& request_;
  std::set<std::string> live_relays_;
  std::set<std::string> lineages_;
  std::set<std::string> active_replicas_;
  bool any_active_ = false;
  v1::CollectGarbageResponse response_;
};

}  // namespace

Leftover HowToSettle(const v1::MigrationRecord& record, const v1::UndoItem& item) {
  if (record.decision() != v1::DECISION_COMMITTED && record.decision() != v1::DECISION_ACTIVATED) {
    return Leftover::kUndo;
  }
  switch (item.kind()) {
    case v1::UndoItem::DIRECTORY:
    case v1::UndoItem::TICKET:
    case v1::UndoItem::HOLD:
      return Leftover::kUndo;
    case v1::UndoItem::FROZEN_CGROUP:
      return Leftover::kKill;
    default:
      return Leftover::kForget;
  }
}

Result<v1::CollectGarbageResponse> CollectGarbage(Node& node, Registry& registry,
                                                  const v1::CollectGarbageRequest& request) {
  return Collector(node, registry, request).Run();
}

}  // namespace migrate
