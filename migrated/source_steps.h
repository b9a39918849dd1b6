// What the source does in each step of a migration (proto/phase_table.h). One object per
// migration, used by its thread only, except that Cancel may come from another (a stop token).
//
// Every change to the host is put into the record's undo list, and the record saved, before it is
// made; Undo() reverses them, in this daemon or in a fresh one that has only the record.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/cgroup.h"
#include "migrated/docker/container_spec.h"
#include "migrated/migration.h"
#include "migrated/node.h"
#include "migrated/progress.h"
#include "migrated/ship/chunk_statistics.h"
#include "migrated/source_traffic.h"
#include "migrated/tree_shipper.h"
#include "migrated/watchdog.h"
#include "proto/journal.pb.h"

namespace migrate {

class SourceSteps {
 public:
  using Save = std::function<Result<>()>;
  SourceSteps(Node& node, v1::MigrationRecord& record, Progress& progress, Save save);
  ~SourceSteps();

  Result<> Perform(Step step, const std::stop_token& stop);

  // The container is frozen because Docker has paused it: Undo() does not thaw it.
  void LeavePaused(bool leave) { leave_paused_ = leave; }
  // Asked right before the commit; an error is a reason to go back.
  void SetLastCheck(Save check) { last_check_ = std::move(check); }

 private:
  Result<> Preflight(const std::stop_token& stop);
  Result<> ShipImage(const std::stop_token& stop);
  Result<> CreateReplica(const std::stop_token& stop);
  Result<> Presync(const std::stop_token& stop);
  Result<> Freeze(const std::stop_token& stop);
  Result<> Ship(const std::stop_token& stop);
  Result<> Restore(const std::stop_token& stop);
  Result<> PassCommitPoint();
  Result<> HandOff();
  Result<> Fence();
  Result<> FenceOnce();
  Result<> CloseSilently(const std::string& cgroup);
  Result<> Undo();

  Result<> FreezeContainer(const std::stop_token& stop);
  Result<> RegisterFreeze(const std::string& cgroup, const v1::Relay& own_relay);
  Result<> CheckCarried(FdRef netns, const std::string& cgroup);
  Result<> FindWatches();
  Result<> RunCheckpoint();
  Result<> SendFinalFiles(const std::stop_token& stop);
  Result<PeerClient*> Peer();
  void Warn(const std::string& text);
  std::string StandInId() const;
  void KeepLease();
  void EndLease();
  void ReportBytes();

  Node& node_;
  v1::MigrationRecord& record_;
  Progress& progress_;
  Save save_;
  const std::string record_id_;
  const ShipOptions ship_options_;

  std::unique_ptr<PeerClient> peer_;
  std::jthread lease_;
  ContainerInfo container_;
  std::optional<ContainerSpec> spec_;
  std::vector<ShippedTree> trees_;
  bool reserved_ = false;  // the target may have opened the migration
  bool needs_image_ = false;
  std::uint32_t layers_present_ = 0;
  std::unique_ptr<TreeShipper> files_;
  std::unique_ptr<TreeShipper> checkpoint_;
  std::uint64_t image_total_ = 0;
  std::uint64_t file_total_ = 0;
  std::uint64_t memory_total_ = 0;
  StreamStatistics image_bytes_;
  StreamStatistics file_bytes_;
  StreamStatistics checkpoint_bytes_;
  std::vector<std::string> watched_paths_;
  Save last_check_ = [] { return Result<>(); };
  bool leave_paused_ = false;
  std::unique_ptr<Watchdog> watchdog_;    // from before the freeze to its end
  std::optional<SourceTraffic> traffic_;  // from before the freeze on
  std::optional<FrozenCgroup> frozen_;
  std::chrono::steady_clock::time_point freeze_start_{};
  std::chrono::steady_clock::time_point step_start_{};
  std::chrono::steady_clock::time_point cutover_start_{};
};

}  // namespace migrate
