// One migration at its source: a thread that carries out what the state machine (migration.h)
// says, journals every state before acting on it, and shows progress. The steps themselves are in
// source_steps.h.
//
// Owns its thread; the destructor aborts what can be aborted and waits. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "migrated/migration.h"
#include "migrated/node.h"
#include "migrated/progress.h"
#include "proto/journal.pb.h"

namespace migrate {

class SourceMigration {
 public:
  SourceMigration(Node& node, v1::MigrationRecord record);
  ~SourceMigration();
  SourceMigration(const SourceMigration&) = delete;
  SourceMigration& operator=(const SourceMigration&) = delete;

  // `restarted`: the record is from the journal of a daemon that died.
  void Start(bool restarted);

  // FAILED_PRECONDITION past the commit point.
  Result<> RequestAbort();

  Progress& progress() { return progress_; }
  const std::string& id() const { return id_; }
  bool ended() const { return ended_; }
  // What the target is told when it asks.
  v1::Decision decision() const { return decision_; }

 private:
  void Run(bool restarted);
  MigrationEvent Perform(class SourceSteps& steps, const MigrationState& state);
  Result<> Save(const MigrationState& state);
  void Finish(const MigrationState& state);
  bool DeadlinePassed() const;

  Node& node_;
  const std::string id_;
  v1::MigrationRecord record_;  // of the thread
  std::atomic<v1::Decision> decision_;
  Progress progress_;
  std::chrono::steady_clock::time_point deadline_;
  std::atomic<bool> abort_requested_ = false;
  std::atomic<bool> abortable_ = true;
  std::atomic<bool> ended_ = false;
  std::stop_source shutdown_;   // the daemon ends
  std::mutex stop_mutex_;       // guards step_stop_
  std::stop_source step_stop_;  // cancels the step under way
  std::jthread thread_;
};

}  // namespace migrate
