#include "migrated/resolve.h"

#include <string>

namespace migrate {
namespace {

using Reply = v1::GetStandingReply;
using Request = v1::ResolveMigrationRequest;

Error Refused(std::string message, std::string reason) {
  return MakeError(ErrorCode::kFailedPrecondition, std::move(message), std::move(reason));
}

// Why it will end without a word from the operator; empty: it will not.
std::string EndsByItself(const v1::Migration& migration, Reply::Standing standing) {
  const bool source = migration.role() == v1::ROLE_SOURCE;
  switch (standing) {
    case Reply::OPEN:
      return "it has not decided yet, and will";
    case Reply::PREPARED:
      return source ? "it is prepared; the hand-off is tried again every few seconds" : "";
    case Reply::DECIDED:
      return source ? "it knows of the commit and is about to let the container run"
                    : "it has decided: the container goes live here within seconds";
    case Reply::LIVE:
      return source ? "the container runs there" : "the move is complete";
    case Reply::GIVEN_UP:
      return source ? "it has given its replica up: the container goes on here within seconds"
                    : "it has given the move up: the replica here is removed within seconds";
    default:
      return "";
  }
}

std::string Assertion(const v1::Migration& migration, Request::Verdict verdict) {
  const std::string& peer = migration.peer();
  const std::string& name = migration.container_name();
  if (verdict == Request::RUN_HERE) {
    return "that " + name + " does not run on " + peer + " and never will again: the host is off " +
           "for good, or its copy has been removed. If it comes back running, there are two";
  }
  return "that the copy of " + name + " here is not needed: it runs on " + peer +
         ", or may be lost. What is ended here cannot be brought back";
}

}  // namespace

bool HasEnded(const v1::Migration& migration) {
  return migration.outcome() != v1::OUTCOME_UNSPECIFIED &&
         migration.outcome() != v1::OUTCOME_IN_DOUBT;
}

Error NotInDoubt(const v1::Migration& migration) {
  const bool ended = HasEnded(migration);
  return Refused("migration " + migration.id() + " is not in doubt: " +
                     (ended ? "it has ended; see `migrate status " + migration.id() + "`"
                            : "it is under way, and ends by itself or with `migrate abort " +
                                  migration.id() + "`"),
                 "NOT_IN_DOUBT");
}

Result<> MayResolve(const v1::Migration& migration, Request::Verdict verdict,
                    const std::optional<Reply>& peer, bool peer_is_gone) {
  if (verdict != Request::RUN_HERE && verdict != Request::END_HERE) {
    return MakeError(ErrorCode::kInvalidArgument, "say which: --run-here or --end-here",
                     "NO_VERDICT");
  }
  if (migration.outcome() != v1::OUTCOME_IN_DOUBT) {
    return NotInDoubt(migration);
  }
  if (peer) {
    const std::string why = EndsByItself(migration, peer->standing());
    if (!why.empty()) {
      return Refused(
          "the daemon on " + migration.peer() + " answers: " + why + "; nothing to resolve",
          "PEER_ANSWERS");
    }
  }
  if (!peer_is_gone) {
    return Refused(
        "to resolve it you have to assert (--peer-is-gone) " + Assertion(migration, verdict),
        "ASSERTION_NEEDED");
  }
  return {};
}

}  // namespace migrate
