#include "migrated/source_steps.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <future>
#include <thread>

#include "base/check.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/netns.h"
#include "base/stop_wait.h"
#include "migrated/address_mode.h"
#include "migrated/compatibility.h"
#include "migrated/container_processes.h"
#include "migrated/container_watch.h"
#include "migrated/docker/image_transfer.h"
#include "migrated/fault_point.h"
#include "migrated/host_undo.h"
#include "migrated/kernel_undo.h"
#include "migrated/network/netlock.h"
#include "migrated/network/process_sockets.h"
#include "migrated/network/relay.h"
#include "migrated/preflight.h"
#include "migrated/proxy_connections.h"
#include "migrated/relays.h"
#include "migrated/settle.h"
#include "recorder/checkpoint.h"
#include "recorder/watched_paths.h"

namespace migrate {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kLeaseRenewal = std::chrono::seconds(3);
constexpr std::uint64_t kPresyncSmallEnough = 256 * 1024;
constexpr auto kReportInterval = std::chrono::milliseconds(100);

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

ShipOptions ShipOptionsOf(const v1::MigrationOptions& options) {
  ShipOptions ship;
  if (options.bandwidth() > 0) {
    ship.rate = std::make_shared<RateLimiter>(options.bandwidth());
  }
  ship.compression_level = options.compression_level();
  return ship;
}

}  // namespace

SourceSteps::SourceSteps(Node& node, v1::MigrationRecord& record, Progress& progress, Save save)
    : node_(node),
      record_(record),
      progress_(progress),
      save_(std::move(save)),
      record_id_(record.migration().id()),
      ship_options_(ShipOptionsOf(record.migration().options())) {}

SourceSteps::~SourceSteps() { EndLease(); }

Result<> SourceSteps::Perform(Step step, const std::stop_token& stop) {
  step_start_ = Clock::now();
  std::jthread reporter([this](const std::stop_token& done) {
    do {
      ReportBytes();
    } while (!WaitForStop(done, kReportInterval));
  });
  switch (step) {
    case Step::kPreflight:
      return Preflight(stop);
    case Step::kShipImage:
      return ShipImage(stop);
    case Step::kCreateReplica:
      return CreateReplica(stop);
    case Step::kPresync:
      return Presync(stop);
    case Step::kFreeze:
      return Freeze(stop);
    case Step::kShip:
      return Ship(stop);
    case Step::kRestore:
      return Restore(stop);
    case Step::kCommit:
      return PassCommitPoint();
    case Step::kHandOff:
      return HandOff();
    case Step::kFence:
      return Fence();
    case Step::kUndo:
      return Undo();
    case Step::kEnded:
      break;
  }
  CHECK(false);
  return {};
}

void SourceSteps::ReportBytes() {
  progress_.Update([this](v1::Migration& migration) {
    v1::TransferredBytes* transferred = migration.mutable_transferred();
    transferred->set_image(image_bytes_.wire_bytes);
    transferred->set_files(file_bytes_.wire_bytes);
    transferred->set_checkpoint(checkpoint_bytes_.wire_bytes);
    migration.set_transferred_bytes(transferred->image() + transferred->files() +
                                    transferred->checkpoint());
    for (v1::PhaseProgress& phase : *migration.mutable_phases()) {
      if (phase.phase() != migration.phase()) {
        continue;
      }
      if (phase.phase() == v1::PHASE_PRESYNC) {
        phase.set_done_bytes(image_bytes_.raw_bytes + file_bytes_.raw_bytes);
        phase.set_total_bytes(std::max(image_total_ + file_total_, phase.done_bytes()));
      } else if (phase.phase() == v1::PHASE_CHECKPOINT || phase.phase() == v1::PHASE_SHIP) {
        phase.set_done_bytes(checkpoint_bytes_.raw_bytes);
        phase.set_total_bytes(std::max(memory_total_, phase.done_bytes()));
      }
    }
  });
}

Result<PeerClient*> SourceSteps::Peer() {
  if (!peer_) {
    peer_ = TRY(node_.ConnectPeer(record_.migration().peer()));
  }
  return peer_.get();
}

// The target gives a migration up whose source is silent; this thread is the sign of life.
void SourceSteps::KeepLease() {
  lease_ = std::jthread([this](const std::stop_token& done) {
    while (!WaitForStop(done, kLeaseRenewal)) {
      v1::RenewRequest request;
      request.set_migration_id(record_id_);
      if (auto renewed = peer_->Renew(request, {.timeout = kLeaseRenewal, .stop = done});
          !renewed) {
        spdlog::debug("migration {}: renew: {}", record_id_, renewed.error().message);
      }
    }
  });
}

void SourceSteps::EndLease() {
  if (lease_.joinable()) {
    lease_.request_stop();
    lease_.join();
  }
}

Result<> SourceSteps::Preflight(const std::stop_token& stop) {
  SourceInspection inspection =
      TRY(InspectSource(node_, record_.migration().container_id(), record_.migration().options()));
  container_ = inspection.container;
  spec_ = inspection.spec;
  memory_total_ = inspection.memory_bytes;
  file_total_ = inspection.file_bytes;
  record_.set_init_pid(static_cast<std::uint32_t>(container_.pid));
  record_.set_final_name(container_.name);
  record_.set_restart_policy(container_.restart_policy.name);

  *record_.mutable_lineage() = inspection.lineage;
  PeerClient* peer = TRY(Peer());
  const bool dry_run = !inspection.blockers.empty();
  reserved_ = !dry_run;
  const v1::PrepareReply target = TRY(InspectTarget(
      node_, *peer, inspection, record_.migration().options(), record_id_, dry_run, stop));
  std::vector<v1::Blocker> blockers = std::move(inspection.blockers);
  blockers.insert(blockers.end(), target.blockers().begin(), target.blockers().end());
  if (!blockers.empty()) {
    progress_.Update([&](v1::Migration& migration) {
      for (const v1::Blocker& blocker : blockers) {
        *migration.mutable_failure()->add_blockers() = blocker;
      }
    });
    return BlockersError(blockers);
  }
  needs_image_ = target.needs_image();
  layers_present_ = target.layers_present();
  KeepLease();
  return Fault(FaultPoint::kPrepared);
}

Result<> SourceSteps::ShipImage(const std::stop_token& stop) {
  if (!needs_image_) {
    return Fault(FaultPoint::kImageShipped);
  }
  const ImageInfo image = TRY(node_.docker().InspectImage(container_.image_id));
  image_total_ = layers_present_ == 0 ? static_cast<std::uint64_t>(image.size) : 0;
  progress_.SetDetail("image " + container_.image_name);
  v1::ReceiveRequest request;
  request.set_migration_id(record_id_);
  request.set_stream("image");
  request.mutable_image()->set_image_id(image.id);
  request.mutable_image()->set_image_name(container_.image_name);
  TRY(SendWhilePeerReceives(
      *peer_, request, 0, ship_options_, image_bytes_, stop, [&](ByteSink& sink) -> Result<> {
        TRY(SaveImageWithout(node_.docker(), image.id, layers_present_, sink));
        return {};
      }));
  return Fault(FaultPoint::kImageShipped);
}

Result<> SourceSteps::CreateReplica(const std::stop_token& stop) {
  v1::CreateReplicaRequest request;
  request.set_migration_id(record_id_);
  const v1::CreateReplicaReply reply =
      TRY(peer_->CreateReplica(request, {.timeout = limits::kRestoreTimeout, .stop = stop}));
  progress_.Update(
      [&](v1::Migration& migration) { migration.set_target_container_id(reply.container_id()); });
  return Fault(FaultPoint::kReplicaCreated);
}

Result<> SourceSteps::Presync(const std::stop_token& stop) {
  trees_ = TRY(ContainerTrees(node_, container_, *spec_, record_.migration().options()));
  files_ =
      TRY(TreeShipper::Create(*peer_, record_id_, "files", trees_, ship_options_, file_bytes_));
  std::uint64_t previous = UINT64_MAX;
  for (int round = 1; round <= limits::kPresyncRoundsMax; ++round) {
    progress_.SetDetail("files, round " + std::to_string(round));
    const std::uint64_t bytes = TRY(files_->SendRound({}, stop));
    if (bytes < kPresyncSmallEnough || bytes > previous / 2) {
      break;  // small enough for the freeze, or it will not get smaller
    }
    previous = bytes;
  }
  return Fault(FaultPoint::kPresynced);
}

// All that the freeze changes on this host is in the journal, in one write, before the first of it
// is done. An abort undoes it from the end: thaw, unlock, give addresses back, let packets go.
Result<> SourceSteps::RegisterFreeze(const std::string& cgroup, const v1::Relay& own_relay) {
  const std::string directory = TRY(node_.MigrationDirectory(record_id_));
  const auto add = [&](v1::UndoItem::Kind kind, const std::string& name,
                       const std::string& detail = {}) {
    v1::UndoItem* item = record_.add_undo();
    item->set_kind(kind);
    item->set_name(name);
    item->set_detail(detail);
  };
  add(v1::UndoItem::DIRECTORY, directory);
  traffic_.emplace(node_, record_, *peer_);
  TRY(traffic_->Register(container_, own_relay));
  if (record_.has_address_move()) {
    add(v1::UndoItem::ADDRESS_ROUTE, record_.address_move().id(), kAddressRouteAway);
  }
  add(v1::UndoItem::NETWORK_LOCK, std::to_string(container_.pid), TRY(StartTimeOf(container_.pid)));
  add(v1::UndoItem::FROZEN_CGROUP, cgroup);
  return save_();
}

Result<> SourceSteps::FreezeContainer(const std::stop_token& stop) {
  const std::string cgroup = TRY(FindFreezerCgroup(container_.pid, container_.id));
  const v1::Relay own_relay =
      TRY(PrepareOwnRelay(node_, container_, record_.lineage().id(), *peer_));
  if (IsAddressMode(record_.migration().options())) {
    *record_.mutable_address_move() =
        TRY(PlanAddressMove(node_, container_, record_.lineage().id(), record_.migration().peer()));
  }
  TRY(RegisterFreeze(cgroup, own_relay));
  TRY(WaitForExecsToEnd(container_.pid, cgroup));
  if (const auto proxied = CountProxied(container_); proxied && *proxied > 0) {
    Warn(DescribeProxiedConnections(*proxied));
  }
  const OwnedFd netns = TRY(OpenNetns(container_.pid));
  TRY(traffic_->HoldNew(netns, stop));
  if (!traffic_->holds()) {
    Warn("packets that came during the move were dropped: this kernel cannot hold them (NFQUEUE)");
  }
  TRY(traffic_->HoldAll(netns));
  freeze_start_ = traffic_->held_since();
  frozen_ = TRY(FrozenCgroup::Freeze(cgroup));
  TRY(Fault(FaultPoint::kFrozen));
  progress_.Update([&](v1::Migration& migration) {
    migration.set_setup_time_ms(migration.total_time_ms());
    migration.set_freezing_time_us(
        static_cast<std::uint64_t>(Milliseconds(Clock::now() - freeze_start_) * 1000));
  });
  // From here on the kernel neither acknowledges nor answers anything for the container.
  TRY(LockNetns(netns));
  TRY(Fault(FaultPoint::kLocked));
  TRY(traffic_->TakeAddresses());
  TRY(CheckCarried(netns, cgroup));
  *record_.mutable_lineage() = TRY(LineageAtFreeze(netns, record_.lineage(), own_relay));
  if (IsAddressMode(record_.migration().options())) {
    TRY(ShareOutConnections(node_, netns, *record_.mutable_address_move(),
                            *record_.mutable_lineage()));
  }
  return {};
}

// What no checkpoint can carry must not be there; the attempt ends, and nobody has lost anything.
Result<> SourceSteps::CheckCarried(FdRef netns, const std::string& cgroup) {
  const Unsettled left = FindUnsettled(TRY(ListSockets(netns)));
  if (left.unaccepted > 0) {
    return MakeError(ErrorCode::kUnavailable,
                     "connections at " + left.listener +
                         " came in just before the freeze and would be lost: try again",
                     "UNACCEPTED_CONNECTIONS");
  }
  if (left.closing > 0) {
    Warn(std::to_string(left.closing) +
         " connections that the container had closed end: their clients did not read the rest");
  }
  if (const int urgent = TRY(CountUnreadUrgent(TRY(CgroupProcesses(cgroup)))); urgent > 0) {
    return MakeError(ErrorCode::kUnavailable,
                     std::to_string(urgent) +
                         " connections have urgent data (MSG_OOB) that the container has not read; "
                         "it cannot be carried over: try again",
                     "UNREAD_URGENT_DATA");
  }
  return {};
}

// The walk of the container's directories is done while it runs; under the freeze only what the
// walk found is looked at again.
Result<> SourceSteps::FindWatches() {
  const auto cgroup = TRY(FindFreezerCgroup(container_.pid, container_.id));
  const WatchedPaths watches = TRY(FindWatchedPaths(container_.pid, TRY(CgroupProcesses(cgroup))));
  watched_paths_ = watches.found;
  return {};
}

Result<> SourceSteps::RunCheckpoint() {
  const std::string directory = node_.MigrationDirectoryPath(record_id_);
  CheckpointOptions options;
  options.container_id = container_.id;
  options.exec_root = node_.config().docker_exec_root;
  options.runc = node_.config().runc;
  options.criu_path = TRY(node_.CriuProgram());
  options.watched_paths = watched_paths_;
  options.timeout = limits::kRuncTimeout + limits::TimeForMemory(memory_total_);
  options.image_dir = directory + "/image";
  options.work_dir = directory + "/criu";
  const CheckpointStats stats = TRY(Checkpoint(options));
  progress_.Update([&](v1::Migration& migration) {
    migration.set_frozen_time_us(static_cast<std::uint64_t>(stats.frozen_time.count()));
    migration.set_pages_scanned(stats.pages_scanned);
    migration.set_pages_written(stats.pages_written);
  });
  return {};
}

Result<> SourceSteps::SendFinalFiles(const std::stop_token& stop) {
  WaitForLogsToSettle(container_.pid);
  TreeShipper::Round round;
  round.final = true;
  round.always_compare = SharedWritableFiles(TRY(FindFreezerCgroup(container_.pid, container_.id)));
  TRY(files_->SendRound(round, stop));
  return {};
}

Result<> SourceSteps::Freeze(const std::stop_token& stop) {
  watchdog_ =
      TRY(Watchdog::Start({Watchdog::DefaultProgram(), node_.config().state_dir, record_id_}));
  const std::string image = TRY(node_.MigrationDirectory(record_id_)) + "/image";
  std::error_code error;
  std::filesystem::create_directories(image, error);
  if (error) {
    return ErrnoError("mkdir " + image, error.value());
  }
  checkpoint_ = TRY(TreeShipper::Create(*peer_, record_id_, "checkpoint",
                                        {{v1::TreeName::CHECKPOINT, "", image}}, ship_options_,
                                        checkpoint_bytes_));
  TRY(FindWatches());
  TRY(FreezeContainer(stop));
  // Before CRIU, which makes directories of its own in the container's /tmp for a moment.
  TRY(SendFinalFiles(stop));
  // CRIU, and the pages that it has written so far, at once.
  std::stop_source together;
  const std::stop_callback outer(stop, [&] { together.request_stop(); });
  std::atomic<bool> dumped = false;
  Result<> pages;
  std::jthread send_pages([&] {
    pages = checkpoint_->SendAppended([&] { return dumped.load(); }, together.get_token());
  });
  const Result<> checkpoint = RunCheckpoint();
  if (!checkpoint) {
    together.request_stop();
  }
  dumped = true;
  send_pages.join();
  TRY(checkpoint);
  TRY(pages);
  TRY(Fault(FaultPoint::kCheckpointed));
  if (stop.stop_requested()) {
    return MakeError(ErrorCode::kCancelled, "cancelled");
  }
  progress_.Update([&](v1::Migration& migration) {
    migration.set_checkpoint_ms(Milliseconds(Clock::now() - freeze_start_));
  });
  return {};
}

Result<> SourceSteps::Ship(const std::stop_token& stop) {
  TreeShipper::Round round;
  round.final = true;
  TRY(checkpoint_->SendRound(round, stop));
  progress_.Update([&](v1::Migration& migration) {
    migration.set_ship_ms(Milliseconds(Clock::now() - step_start_));
  });
  return Fault(FaultPoint::kShipped);
}

Result<> SourceSteps::Restore(const std::stop_token& stop) {
  v1::RestoreRequest request;
  request.set_migration_id(record_id_);
  *request.mutable_lineage() = record_.lineage();
  request.set_memory_bytes(memory_total_);
  request.set_network_mode(record_.migration().options().network_mode());
  if (record_.has_address_move()) {
    *request.mutable_address_move() = record_.address_move();
  }
  auto route = std::async(std::launch::async, [&] {
    return record_.has_address_move() ? PrepareAddressAway(record_.address_move()) : Result<>();
  });
  const v1::RestoreReply reply = TRY(peer_->Restore(
      request, {.timeout = limits::kRestoreTimeout + limits::TimeForMemory(memory_total_) +
                           limits::kPeerCallTimeout,
                .stop = stop}));
  TRY(route.get());
  progress_.Update([&](v1::Migration& migration) {
    migration.set_restore_ms(Milliseconds(Clock::now() - step_start_));
  });
  spdlog::debug("migration {}: {} tasks restored in {:.0f} ms", record_id_, reply.tasks(),
                reply.docker_start_ms());
  return Fault(FaultPoint::kRestored);
}

}  // namespace migrate
