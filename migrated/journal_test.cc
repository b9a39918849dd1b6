#include "migrated/journal.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>

namespace migrate {
namespace {

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/migrate_journal_XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ / "journal.db";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
  std::string path_;
};

v1::MigrationRecord Record(const std::string& id, v1::Decision decision) {
  v1::MigrationRecord record;
  record.mutable_migration()->set_id(id);
  record.set_decision(decision);
  return record;
}

TEST_F(JournalTest, SurvivesReopenAndKeepsTheOrder) {
  {
    auto journal = Journal::Open(path_);
    ASSERT_TRUE(journal) << journal.error().message;
    ASSERT_TRUE((*journal)->Put(Record("b", v1::DECISION_UNDECIDED)));
    ASSERT_TRUE((*journal)->Put(Record("a", v1::DECISION_UNDECIDED)));
    ASSERT_TRUE((*journal)->Put(Record("b", v1::DECISION_COMMITTED)));
  }
  auto journal = Journal::Open(path_);
  ASSERT_TRUE(journal);
  auto records = (*journal)->Migrations();
  ASSERT_TRUE(records);
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[0].migration().id(), "b");
  EXPECT_EQ((*records)[0].decision(), v1::DECISION_COMMITTED);
}

TEST_F(JournalTest, SecondDaemonIsKeptOut) {
  auto journal = Journal::Open(path_);
  ASSERT_TRUE(journal);
  auto second = Journal::Open(path_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another migrated"), std::string::npos);
}

TEST_F(JournalTest, OthersReadItOnceItsDaemonIsDead) {
  {
    auto journal = Journal::Open(path_);
    ASSERT_TRUE(journal);
    ASSERT_TRUE((*journal)->Put(Record("a", v1::DECISION_COMMITTED)));
    const auto owned = Journal::ReadUnowned(path_, "a");
    ASSERT_FALSE(owned);
    EXPECT_EQ(owned.error().code, ErrorCode::kUnavailable);
  }
  const auto record = Journal::ReadUnowned(path_, "a");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->decision(), v1::DECISION_COMMITTED);
  EXPECT_EQ(Journal::ReadUnowned(path_, "b").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(Journal::Open(path_)) << "a daemon can have it again";
}

TEST_F(JournalTest, NewerFormatIsRefused) {
  ASSERT_TRUE(Journal::Open(path_));
  sqlite3* database = nullptr;
  sqlite3_open(path_.c_str(), &database);
  sqlite3_exec(database, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
  sqlite3_close(database);
  auto journal = Journal::Open(path_);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, ErrorCode::kVersionMismatch);
}

TEST_F(JournalTest, LineagesAreFoundByContainerAndErased) {
  auto journal = Journal::Open(path_);
  ASSERT_TRUE(journal);
  v1::LineageRecord record;
  record.mutable_lineage()->set_id("l");
  record.set_container_id("c1");
  ASSERT_TRUE((*journal)->Put(record));
  EXPECT_TRUE((*journal)->FindLineage("c1")->has_value());
  EXPECT_FALSE((*journal)->FindLineage("c2")->has_value());
  ASSERT_TRUE((*journal)->EraseLineage("l"));
  EXPECT_TRUE((*journal)->Lineages()->empty());
}

v1::MigrationRecord EndedAt(const std::string& id, std::int64_t start) {
  v1::MigrationRecord record = Record(id, v1::DECISION_ACTIVATED);
  record.mutable_migration()->set_outcome(v1::OUTCOME_MOVED);
  record.mutable_migration()->mutable_start_time()->set_seconds(start);
  return record;
}

TEST_F(JournalTest, EndedMigrationsOfLongAgoAreForgotten) {
  using std::chrono::hours;
  auto journal = Journal::Open(path_);
  ASSERT_TRUE(journal) << journal.error().message;
  const std::int64_t now = std::time(nullptr);
  v1::MigrationRecord in_doubt = EndedAt("doubt", 1);
  in_doubt.mutable_migration()->set_outcome(v1::OUTCOME_IN_DOUBT);
  v1::MigrationRecord litter = EndedAt("litter", 1);
  litter.add_undo()->set_name("/x");
  for (const v1::MigrationRecord& record :
       {in_doubt, litter, Record("under-way", v1::DECISION_UNDECIDED), EndedAt("too-old", 1),
        EndedAt("first", now), EndedAt("second", now), EndedAt("third", now)}) {
    ASSERT_TRUE((*journal)->Put(record));
  }
  EXPECT_EQ((*journal)->EraseEnded(200, hours(1)).value(), 1);
  EXPECT_EQ((*journal)->EraseEnded(2, hours(1)).value(), 1);
  std::vector<std::string> left;
  const auto records = (*journal)->Migrations();
  for (const v1::MigrationRecord& record : records.value()) {
    left.push_back(record.migration().id());
  }
  EXPECT_EQ(left, (std::vector<std::string>{"doubt", "litter", "under-way", "second", "third"}));
}

}  // namespace
}  // namespace migrate
