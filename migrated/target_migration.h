// One migration at its target. The source drives; each method is one call of the Peer service,
// carried out on the caller's thread, one at a time. Every method may be repeated.
//
// Until Commit everything can be undone: all that is made here is in the record's undo list, in the
// journal, before it is made. Prepared (Restore has answered) means that the target can go either
// way and does not decide by itself: a fresh daemon, or one whose source is silent, asks the
// source.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "migrated/container_watch.h"
#include "migrated/docker/container_spec.h"
#include "migrated/docker/create_on_target.h"
#include "migrated/node.h"
#include "migrated/progress.h"
#include "migrated/ship/file_tree_receiver.h"
#include "proto/journal.pb.h"

namespace migrate {

// Whether the restored replica of a record has ended, or is no more. target_resolve.cc.
bool ReplicaIsLost(Node& node, const v1::MigrationRecord& record);

class TargetMigration {
 public:
  TargetMigration(Node& node, v1::MigrationRecord record);
  ~TargetMigration();
  TargetMigration(const TargetMigration&) = delete;
  TargetMigration& operator=(const TargetMigration&) = delete;

  // Every blocker of this host. Without `dry_run` in the request also opens the migration.
  Result<v1::PrepareReply> Prepare(const v1::PrepareRequest& request);
  // A call that is lost with its connection does not end the receiving: the same request again
  // waits for the same stream. `stop` ends the waiting only.
  Result<v1::ReceiveReply> Receive(const v1::ReceiveRequest& request, const std::stop_token& stop);
  Result<v1::CreateReplicaReply> CreateReplica();
  Result<v1::RestoreReply> Restore(const v1::RestoreRequest& request);
  Result<v1::CommitReply> Commit(const v1::CommitRequest& request);
  Result<v1::PeerAbortReply> Abort(const Error& why);

  // target_resolve.cc: the operator's word, while the source does not answer; who may give it is up
  // to the caller (resolve.h).
  Result<> Resolve(v1::Resolution resolution);

  // What a timer of the daemon calls now and then: a source that has been silent for too long is
  // asked for its decision if this side is prepared, else given up.
  void CheckLease();
  void Touch();
  // After a restart of the daemon.
  void Recover();

  Progress& progress() { return progress_; }
  const std::string& id() const { return id_; }
  bool ended() const { return ended_; }

 private:
  Result<> RequireOpen() const;
  Result<> NoInterference() const;
  void OnInterference(const Error& what);
  Result<> Save();
  OnCreate OnCreated();
  Result<> AddUndo(v1::UndoItem::Kind kind, const std::string& name, const std::string& detail);
  Result<std::string> TreeRoot(const v1::TreeName& tree);
  Result<std::shared_ptr<FileTreeReceiver>> ReceiverFor(const v1::TreeName& tree);
  bool WaitForReceivers() const;
  struct Reception;  // one stream that is being received
  std::shared_ptr<Reception> ReceptionOf(const v1::ReceiveRequest& request);
  Result<v1::ReceiveReply> ReceiveImage(const v1::ReceiveRequest& request);
  Result<v1::ReceiveReply> ReceiveTrees(const v1::ReceiveRequest& request);
  Result<> StartReplica(std::uint64_t memory_bytes);
  Result<std::uint32_t> CheckStopped();
  Result<> Activate();
  void SettleDown();
  std::vector<std::string> UndoAll();
  Result<v1::PeerAbortReply> AbortLocked(const Error& why);
  Result<> Reserve(const v1::PrepareRequest& request);
  Result<v1::CommitReply> CommitLocked();
  // target_resolve.cc; all with mutex_ held.
  void AskSource();
  void SayInDoubt(const std::string& source_says);
  Result<> GiveUpIfLost(const Error& why);
  Result<v1::PeerAbortReply> DropReplica(const Error& why);

  Node& node_;
  const std::string id_;
  std::timed_mutex mutex_;   // one call at a time; guards all below
  std::mutex record_mutex_;  // inside mutex_: Receive adds to the record without it
  v1::MigrationRecord record_;
  Progress progress_;
  std::optional<ContainerSpec> spec_;
  std::optional<CreatedContainer> replica_;
  // The replica may have executed instructions; of an earlier daemon nobody knows.
  bool may_have_run_;
  std::map<std::string, std::shared_ptr<FileTreeReceiver>> receivers_;

  std::atomic<int> calls_ = 0;
  std::atomic<int> receiving_ = 0;  // of calls_, those that read a stream, without mutex_
  std::atomic<std::int64_t> last_contact_ms_ = 0;
  std::atomic<bool> ended_ = false;
  std::mutex receptions_mutex_;
  std::map<std::string, std::shared_ptr<Reception>> receptions_;  // guarded by it
  mutable std::mutex interference_mutex_;
  Result<> interference_;                        // guarded by it: what somebody did to the replica
  std::unique_ptr<ReplicaWatch> replica_watch_;  // its last use of this ends with it
  std::jthread settle_;  // what may take its time after the replica has gone live
  std::chrono::steady_clock::time_point resumed_{};
};

}  // namespace migrate
