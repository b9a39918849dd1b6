#include "migrated/garbage.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

Leftover Settled(v1::Role role, v1::Decision decision, v1::UndoItem::Kind kind) {
  v1::MigrationRecord record;
  record.mutable_migration()->set_role(role);
  record.set_decision(decision);
  v1::UndoItem item;
  item.set_kind(kind);
  return HowToSettle(record, item);
}

const v1::Decision kCommitted[] = {v1::DECISION_COMMITTED, v1::DECISION_ACTIVATED};
const v1::Decision kNotCommitted[] = {v1::DECISION_UNDECIDED, v1::DECISION_PREPARED,
                                      v1::DECISION_ABORTED};

TEST(Garbage, ACommittedSourceIsNeverThawed) {
  for (const v1::Decision decision : kCommitted) {
    EXPECT_EQ(Settled(v1::ROLE_SOURCE, decision, v1::UndoItem::FROZEN_CGROUP), Leftover::kKill);
    EXPECT_EQ(Settled(v1::ROLE_SOURCE, decision, v1::UndoItem::NETWORK_LOCK), Leftover::kForget);
    // The relay needs it now.
    EXPECT_EQ(Settled(v1::ROLE_SOURCE, decision, v1::UndoItem::STAND_IN), Leftover::kForget);
    EXPECT_EQ(Settled(v1::ROLE_SOURCE, decision, v1::UndoItem::DIRECTORY), Leftover::kUndo);
    EXPECT_EQ(Settled(v1::ROLE_SOURCE, decision, v1::UndoItem::HOLD), Leftover::kUndo);
  }
}

TEST(Garbage, ACommittedTargetIsNeverRemoved) {
  for (const v1::Decision decision : kCommitted) {
    EXPECT_EQ(Settled(v1::ROLE_TARGET, decision, v1::UndoItem::DOCKER), Leftover::kForget);
    EXPECT_EQ(Settled(v1::ROLE_TARGET, decision, v1::UndoItem::ADDRESS_ROUTE), Leftover::kForget);
    EXPECT_EQ(Settled(v1::ROLE_TARGET, decision, v1::UndoItem::TICKET), Leftover::kUndo);
  }
}

TEST(Garbage, WhatWasNotCommittedIsUndone) {
  for (const v1::Decision decision : kNotCommitted) {
    for (int kind = v1::UndoItem::FROZEN_CGROUP; kind <= v1::UndoItem::ADDRESS_ROUTE; ++kind) {
      for (const v1::Role role : {v1::ROLE_SOURCE, v1::ROLE_TARGET}) {
        EXPECT_EQ(Settled(role, decision, static_cast<v1::UndoItem::Kind>(kind)), Leftover::kUndo);
      }
    }
  }
}

}  // namespace
}  // namespace migrate
