// The part of SourceMigration that deals with a target whose word is missing: a hand-off that does
// not come to an end, and the operator who ends it (`migrate resolve`, resolve.h).
//
// At the source a migration is in doubt when it has passed its commit point and the target has not
// confirmed for a while. It goes on trying; only two may take the decision back: the operator, and
// a target that has given its replica up for good.
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/cgroup.h"
#include "base/netns.h"
#include "migrated/container_processes.h"
#include "migrated/network/netlock.h"
#include "migrated/relays.h"
#include "migrated/resolve.h"
#include "migrated/source_migration.h"

namespace migrate {
namespace {

constexpr auto kHandOffRetryDelay = std::chrono::seconds(2);
// A source that was restarted asks before it thaws: short, since its container stands still.
constexpr auto kAskBeforeThaw = std::chrono::seconds(3);
constexpr auto kAskInDoubt = std::chrono::seconds(5);
constexpr auto kWordWait = std::chrono::seconds(150);  // longer than one hand-off may take
constexpr auto kWordPoll = std::chrono::milliseconds(50);

void LockAgain(const v1::UndoItem& item) {
  int pid = 0;
  std::from_chars(item.name().data(), item.name().data() + item.name().size(), pid);
  const auto start_time = StartTimeOf(pid);
  if (start_time && *start_time == item.detail()) {
    if (const auto netns = OpenNetns(pid)) {
      (void)LockNetns(*netns);
    }
  }
}

}  // namespace

std::optional<v1::GetStandingReply> SourceMigration::AskTarget(std::chrono::milliseconds timeout) {
  v1::GetStandingRequest request;
  request.set_migration_id(id_);
  auto peer = node_.ConnectPeer(record_.migration().peer());
  auto reply = peer ? (*peer)->GetStanding(request, {.timeout = timeout})
                    : Result<v1::GetStandingReply>(peer.error());
  return reply ? std::optional(std::move(*reply)) : std::nullopt;
}

// The operator of the target may have said that this host is gone.
bool SourceMigration::RunsAtTarget() {
  if (!record_.target_may_be_prepared()) {
    return false;
  }
  const auto standing = AskTarget(kAskBeforeThaw);
  return standing && (standing->standing() == v1::GetStandingReply::LIVE ||
                      standing->standing() == v1::GetStandingReply::DECIDED);
}

// The frozen processes do not outlive a restart of the host.
bool SourceMigration::CopyIsHere() const {
  return std::any_of(record_.undo().begin(), record_.undo().end(), [](const v1::UndoItem& item) {
    const bool there =
        item.kind() == v1::UndoItem::FROZEN_CGROUP && std::filesystem::exists(item.name());
    const auto processes = there ? CgroupProcesses(item.name()) : Result<std::vector<int>>();
    return processes && !processes->empty();
  });
}

// What the watchdog or an undo has let go may not have one more packet.
void SourceMigration::FreezeAgain() {
  for (const v1::UndoItem& item : record_.undo()) {
    if (item.kind() == v1::UndoItem::FROZEN_CGROUP && std::filesystem::exists(item.name())) {
      if (auto frozen = FrozenCgroup::Freeze(item.name())) {
        frozen->Release();
      } else {
        spdlog::error("migration {}: {}", id_, frozen.error().message);
      }
    }
  }
  for (const v1::UndoItem& item : record_.undo()) {
    if (item.kind() == v1::UndoItem::NETWORK_LOCK) {
      LockAgain(item);
    }
  }
}

MigrationState SourceMigration::FoundLive(const MigrationState& state) {
  spdlog::warn("migration {}: its target was resolved to run: the copy here ends", id_);
  FreezeAgain();
  record_.set_decision(v1::DECISION_COMMITTED);
  progress_.Update([&](v1::Migration& migration) {
    migration.clear_failure();
    migration.set_resolution("the operator let the container run at " + migration.peer() +
                             ", so the copy here was ended when this daemon came back");
  });
  return Advance(state, {EventKind::kFoundLive});
}

void SourceMigration::ShowDoubt(const MigrationState& state) {
  const bool known = record_.migration().outcome() == state.outcome;
  progress_.Update([&](v1::Migration& migration) {
    migration.set_outcome(state.outcome);
    if (state.outcome != v1::OUTCOME_IN_DOUBT) {
      return;
    }
    v1::Doubt* doubt = migration.mutable_doubt();
    if (!doubt->has_since()) {
      *doubt->mutable_since() = google::protobuf::util::TimeUtil::GetCurrentTime();
    }
    doubt->set_here("decided: the container goes on at " + migration.peer() +
                    (CopyIsHere() ? "; its copy here is kept, frozen and complete"
                                  : "; its copy here has ended: was the host restarted?"));
    doubt->set_peer(last_failure_ ? last_failure_->message : "has not confirmed");
    doubt->clear_commands();
    doubt->add_commands("migrate resolve " + id_ + " --run-here");
    doubt->add_commands("migrate resolve " + id_ + " --end-here");
  });
  if (Result<> saved = known ? Result<>() : Save(state); !saved) {
    spdlog::error("migration {}: {}", id_, saved.error().message);
  }
}

Result<MigrationState> SourceMigration::TakeWord(const MigrationState& state,
                                                 v1::Resolution resolution,
                                                 const MigrationEvent& event,
                                                 const std::string& text) {
  const v1::MigrationRecord before = record_;
  record_.set_resolution(resolution);
  if (resolution == v1::RESOLUTION_RUN_HERE) {
    record_.set_decision(v1::DECISION_ABORTED);
  }
  record_.mutable_migration()->set_resolution(text);
  if (Result<> saved = node_.journal().Put(record_); !saved) {
    record_ = before;
    return saved.error();
  }
  decision_ = record_.decision();
  spdlog::warn("migration {}: {}", id_, text);
  progress_.Update([&](v1::Migration& migration) {
    migration.set_resolution(text);
    if (event.error) {
      migration.mutable_failure()->set_code(std::string(ErrorCodeName(event.error->code)));
      migration.mutable_failure()->set_reason(event.error->reason);
      migration.mutable_failure()->set_message(event.error->message);
      migration.mutable_failure()->set_phase(v1::PHASE_CUTOVER);
      if (!CopyIsHere()) {
        migration.add_warnings("the copy here had ended already: start the container anew");
      }
    } else {
      migration.add_warnings(migration.peer() + " never confirmed that the container runs there");
    }
  });
  return Advance(state, event);
}

bool SourceMigration::WaitInDoubt(MigrationState& state) {
  ShowDoubt(state);
  // The target answers, but not as it should: it may have been resolved as well.
  if (last_failure_ && last_failure_->code != ErrorCode::kUnavailable) {
    const auto standing = AskTarget(kAskInDoubt);
    if (standing && standing->standing() == v1::GetStandingReply::GIVEN_UP) {
      const std::string text =
          "the target has given the replica up, which never ran: " + last_failure_->message;
      auto taken =
          TakeWord(state, v1::RESOLUTION_RUN_HERE,
                   {EventKind::kTakenBack, MakeError(ErrorCode::kAborted, text, "TARGET_GAVE_UP")},
                   "the copy here goes on: " + text);
      if (taken) {
        state = *taken;
        return true;
      }
    }
  }
  std::shared_ptr<Word> word;
  {
    std::unique_lock lock(word_mutex_);
    const std::stop_token stop = shutdown_.get_token();
    word_given_.wait_for(lock, stop, kHandOffRetryDelay, [&] { return word_ != nullptr; });
    if (stop.stop_requested()) {
      return false;
    }
    word = std::move(word_);
    word_ = nullptr;
  }
  if (!word) {
    return true;
  }
  const bool run = word->resolution == v1::RESOLUTION_RUN_HERE;
  if (run && !CopyIsHere()) {
    word->answer.set_value(MakeError(ErrorCode::kFailedPrecondition,
                                     "the copy here has ended and cannot go on (was the host "
                                     "restarted?); --end-here ends the migration",
                                     "COPY_LOST"));
    return true;
  }
  const std::string text = run ? "resolved by the operator: the container runs here"
                               : "resolved by the operator: the copy here has ended";
  MigrationEvent event{EventKind::kDeclaredEnded};
  if (run) {
    event = {EventKind::kTakenBack, MakeError(ErrorCode::kCancelled, text, "RESOLVED")};
  }
  auto taken = TakeWord(state, word->resolution, event, text);
  if (taken) {
    state = *taken;
  }
  word->answer.set_value(taken ? Result<>() : Result<>(taken.error()));
  return true;
}

Result<> SourceMigration::Resolve(v1::Resolution resolution) {
  const v1::Migration migration = progress_.Snapshot();
  if (ended_ || migration.outcome() != v1::OUTCOME_IN_DOUBT) {
    return NotInDoubt(migration);
  }
  auto word = std::make_shared<Word>();
  word->resolution = resolution;
  std::future<Result<>> answer = word->answer.get_future();
  {
    const std::lock_guard lock(word_mutex_);
    word_ = word;
  }
  word_given_.notify_all();
  const auto until = std::chrono::steady_clock::now() + kWordWait;
  while (answer.wait_for(kWordPoll) != std::future_status::ready) {
    const std::lock_guard lock(word_mutex_);
    const bool over = ended_ || std::chrono::steady_clock::now() >= until;
    if (over && word_ == word) {
      word_ = nullptr;  // the thread will not see it any more
      return MakeError(ErrorCode::kFailedPrecondition,
                       ended_ ? "migration " + id_ + " has just come to its end"
                              : "migration " + id_ + " is busy with the target; try again",
                       "RESOLVE_NOT_TAKEN");
    }
  }
  return answer.get();
}

}  // namespace migrate
