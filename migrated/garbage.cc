#include "migrated/garbage.h"

#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/cgroup.h"
#include "base/netns.h"
#include "migrated/host_undo.h"
#include "migrated/network/relay.h"
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
    TRY(StrayRelays());
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

  // Past the commit point the source is never let go again: there would be two copies. What its
  // fence could not end is ended now, and its network lock goes with it.
  Result<> Settle(const v1::MigrationRecord& record, const v1::UndoItem& undo) {
    const bool committed =
        record.decision() == v1::DECISION_COMMITTED || record.decision() == v1::DECISION_ACTIVATED;
    if (committed && record.migration().role() == v1::ROLE_SOURCE) {
      if (undo.kind() == v1::UndoItem::NETWORK_LOCK) {
        return {};
      }
      if (undo.kind() == v1::UndoItem::FROZEN_CGROUP) {
        return std::filesystem::exists(undo.name()) ? KillCgroup(undo.name()) : Result<>();
      }
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
      if (!record.own_relay().id().empty()) {
        live_relays_.insert(record.own_relay().id());
      }
      for (const v1::Relay& relay : record.lineage().relays()) {
        live_relays_.insert(relay.id());
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
    if (!record.own_relay().id().empty()) {
      TRY(RemoveOwnRelay(node_, record.own_relay()));
    }
    return node_.journal().EraseLineage(record.lineage().id());
  }

  // Relays on this host that no lineage of the journal knows.
  Result<> StrayRelays() {
    const OwnedFd host = TRY(OpenNetns(getpid()));
    for (const std::string& id : TRY(FindRelays(host)).relay_ids) {
      if (!live_relays_.contains(id)) {
        Item("relay", id, "", [&] { return RemoveOrigin(host, id); });
      }
    }
    return {};
  }

  Node& node_;
  Registry& registry_;
  const v1::CollectGarbageRequest& request_;
  std::set<std::string> live_relays_;
  v1::CollectGarbageResponse response_;
};

}  // namespace

Result<v1::CollectGarbageResponse> CollectGarbage(Node& node, Registry& registry,
                                                  const v1::CollectGarbageRequest& request) {
  return Collector(node, registry, request).Run();
}

}  // namespace migrate
