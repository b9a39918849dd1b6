// All migrations that this daemon knows: those under way, as objects, and those that ended, from
// the journal. Owns the migration objects; keeps at most one per container. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "migrated/node.h"
#include "migrated/source_migration.h"
#include "migrated/target_migration.h"

namespace migrate {

class Registry {
 public:
  explicit Registry(Node& node) : node_(node) {}

  // Goes on with what the journal says was under way when the last daemon ended.
  Result<> Recover();

  Result<v1::Migration> Start(const v1::StartMigrationRequest& request);
  Result<v1::Migration> Get(const std::string& id);
  Result<std::vector<v1::Migration>> List(bool active_only);
  Result<v1::Migration> Abort(const std::string& id);
  // resolve.h; answers when the migration has ended, or is about to.
  Result<v1::Migration> Resolve(const v1::ResolveMigrationRequest& request);
  // The live progress; null if the migration has ended before this daemon started.
  std::shared_ptr<SourceMigration> FindSource(const std::string& id);
  std::shared_ptr<TargetMigration> FindTarget(const std::string& id);
  std::shared_ptr<Progress> FindProgress(const std::string& id);

  // The object for a migration that a source opens; the same one if it is open already.
  Result<std::shared_ptr<TargetMigration>> OpenTarget(const v1::PrepareRequest& request);

  // A migration that was refused before it was opened leaves no trace.
  void ForgetTarget(const std::string& id);

  v1::GetDecisionReply::Decision DecisionOf(const std::string& id);
  // What the other side of a migration is told when it, or its operator, wants to know.
  Result<v1::GetStandingReply> StandingOf(const std::string& id);

  // The replica of a migration that came in and went live before this daemon started.
  std::optional<std::string> ActivatedReplica(const std::string& id);

  // A container is migrated or recorded, one at a time. kAborted names what goes on.
  Result<> BeginRecording(const std::string& container_id, const std::string& name);
  void EndRecording(const std::string& container_id);

  // Called every few seconds by the daemon's loop.
  void CheckLeases();

  // Whether any migration that has not ended has this id (for garbage collection).
  bool IsActive(const std::string& id);

 private:
  std::optional<v1::GetStandingReply> StandingOfPeer(const v1::Migration& migration);

  // With mutex_ held: whether anything goes on with the container.
  Result<> CheckIdle(const std::string& container_id, const std::string& name);

  // With mutex_ held: forgets those that ended long ago; the journal has them.
  void Prune();

  Node& node_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<SourceMigration>> sources_;
  std::map<std::string, std::shared_ptr<TargetMigration>> targets_;
  std::set<std::string> recorded_;  // container ids
};

}  // namespace migrate
