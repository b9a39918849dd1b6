#include "migrated/resolve.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

using Reply = v1::GetStandingReply;
using Request = v1::ResolveMigrationRequest;

v1::Migration InDoubt(v1::Role role) {
  v1::Migration migration;
  migration.set_id("0123456789abcdef");
  migration.set_container_name("web1");
  migration.set_peer("hostB:7070");
  migration.set_role(role);
  migration.set_outcome(v1::OUTCOME_IN_DOUBT);
  return migration;
}

std::optional<Reply> Says(Reply::Standing standing) {
  Reply reply;
  reply.set_standing(standing);
  return reply;
}

std::string ReasonOf(const Result<>& result) { return result ? "" : result.error().reason; }

TEST(Resolve, OnlyWithTheAssertionWhileThePeerIsSilent) {
  for (const v1::Role role : {v1::ROLE_SOURCE, v1::ROLE_TARGET}) {
    for (const auto verdict : {Request::RUN_HERE, Request::END_HERE}) {
      EXPECT_EQ(ReasonOf(MayResolve(InDoubt(role), verdict, std::nullopt, false)),
                "ASSERTION_NEEDED");
      EXPECT_TRUE(MayResolve(InDoubt(role), verdict, std::nullopt, true));
    }
  }
}

TEST(Resolve, TheAssertionSaysWhatIsAsserted) {
  const auto run = MayResolve(InDoubt(v1::ROLE_SOURCE), Request::RUN_HERE, std::nullopt, false);
  EXPECT_NE(run.error().message.find("does not run on hostB:7070"), std::string::npos);
  const auto end = MayResolve(InDoubt(v1::ROLE_SOURCE), Request::END_HERE, std::nullopt, false);
  EXPECT_NE(end.error().message.find("may be lost"), std::string::npos);
}

// No flag overrides a daemon from whose word the end follows.
TEST(Resolve, RefusedWhileThePeerDecides) {
  const Reply::Standing source[] = {Reply::OPEN, Reply::PREPARED, Reply::DECIDED, Reply::LIVE,
                                    Reply::GIVEN_UP};
  const Reply::Standing target[] = {Reply::OPEN, Reply::DECIDED, Reply::LIVE, Reply::GIVEN_UP};
  for (const auto verdict : {Request::RUN_HERE, Request::END_HERE}) {
    for (const Reply::Standing standing : source) {
      EXPECT_EQ(ReasonOf(MayResolve(InDoubt(v1::ROLE_SOURCE), verdict, Says(standing), true)),
                "PEER_ANSWERS")
          << Reply::Standing_Name(standing);
    }
    for (const Reply::Standing standing : target) {
      EXPECT_EQ(ReasonOf(MayResolve(InDoubt(v1::ROLE_TARGET), verdict, Says(standing), true)),
                "PEER_ANSWERS")
          << Reply::Standing_Name(standing);
    }
  }
}

// Its journal is lost, or its replica: it cannot say whether the container ran there.
TEST(Resolve, APeerThatCannotKnowIsAsGoodAsGone) {
  for (const Reply::Standing standing : {Reply::UNKNOWN_HERE, Reply::REPLICA_LOST}) {
    const v1::Migration migration = InDoubt(v1::ROLE_SOURCE);
    EXPECT_EQ(ReasonOf(MayResolve(migration, Request::RUN_HERE, Says(standing), false)),
              "ASSERTION_NEEDED");
    EXPECT_TRUE(MayResolve(migration, Request::RUN_HERE, Says(standing), true));
  }
}

TEST(Resolve, OnlyWhatIsInDoubt) {
  v1::Migration migration = InDoubt(v1::ROLE_SOURCE);
  for (const v1::Outcome outcome : {v1::OUTCOME_UNSPECIFIED, v1::OUTCOME_MOVED}) {
    migration.set_outcome(outcome);
    EXPECT_EQ(ReasonOf(MayResolve(migration, Request::RUN_HERE, std::nullopt, true)),
              "NOT_IN_DOUBT");
  }
  EXPECT_EQ(MayResolve(InDoubt(v1::ROLE_SOURCE), Request::VERDICT_UNSPECIFIED, std::nullopt, true)
                .error()
                .code,
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace migrate
