// One migration at its source: a thread that carries out what the state machine (migration.h)
// says, journals every state before acting on it, and shows progress. The steps themselves are in
// source_steps.h.
//
// Owns its thread; the destructor aborts what can be aborted and waits. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "migrated/container_watch.h"
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

  // source_doubt.cc: the operator's word on a hand-off that does not come to an end. When it
  // answers, the word is in the journal; who may give it is up to the caller (resolve.h).
  Result<> Resolve(v1::Resolution resolution);

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

  // source_doubt.cc, all of the thread.
  struct Word {  // of the operator
    v1::Resolution resolution;
    std::promise<Result<>> answer;
  };
  bool RunsAtTarget();
  bool CopyIsHere() const;
  MigrationState FoundLive(const MigrationState& state);
  void FreezeAgain();
  void ShowDoubt(const MigrationState& state);
  std::optional<v1::GetStandingReply> AskTarget(std::chrono::milliseconds timeout);
  // After a hand-off that failed: waits until it is time for the next. False: the daemon ends.
  bool WaitInDoubt(MigrationState& state);
  Result<MigrationState> TakeWord(const MigrationState& state, v1::Resolution resolution,
                                  const MigrationEvent& event, const std::string& text);

  Node& node_;
  const std::string id_;
  v1::MigrationRecord record_;             // of the thread
  std::unique_ptr<ContainerWatch> watch_;  // of the thread
  std::atomic<v1::Decision> decision_;
  Progress progress_;
  std::optional<Error> last_failure_;  // of a step; of the thread
  std::chrono::steady_clock::time_point deadline_;
  std::atomic<bool> abort_requested_ = false;
  std::atomic<bool> abortable_ = true;
  std::atomic<bool> ended_ = false;
  std::stop_source shutdown_;   // the daemon ends
  std::mutex stop_mutex_;       // guards step_stop_
  std::stop_source step_stop_;  // cancels the step under way
  std::mutex word_mutex_;
  std::condition_variable_any word_given_;
  std::shared_ptr<Word> word_;  // guarded by word_mutex_; gone when the thread has taken it
  std::jthread thread_;
};

}  // namespace migrate
