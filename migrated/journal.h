// The journal: what a fresh daemon must know about migrations and lineages after a crash. SQLite in
// WAL mode with synchronous=FULL: when Put returns, the record is on disk.
//
// Owns the database; one daemon per file (an exclusive lock keeps a second one out). Thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "proto/journal.pb.h"

struct sqlite3;

namespace migrate {

class Journal {
 public:
  static Result<std::unique_ptr<Journal>> Open(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  Result<> Put(const v1::MigrationRecord& record);
  Result<std::vector<v1::MigrationRecord>> Migrations();  // oldest first
  // What `migrate record` has under way (or had, when a daemon died): one record each, with
  // `recording` set, erased when it has ended.
  Result<std::vector<v1::MigrationRecord>> Recordings();
  Result<> EraseRecording(const std::string& id);
  // Forgets ended migrations but for the newest `kept`, and those of longer ago than `age`. What
  // has not ended, or has something left to undo, stays. The number.
  Result<int> EraseEnded(std::size_t kept, std::chrono::seconds age);

  // For a program that is not the daemon: what the journal of a daemon that is dead says of one
  // migration. Touches nothing but what SQLite does to recover. kUnavailable while a daemon has it.
  static Result<v1::MigrationRecord> ReadUnowned(const std::string& path, const std::string& id);

  Result<> Put(const v1::LineageRecord& record);  // one per lineage on a host
  Result<> EraseLineage(const std::string& lineage_id);
  Result<std::vector<v1::LineageRecord>> Lineages();
  // The lineage whose local container this is.
  Result<std::optional<v1::LineageRecord>> FindLineage(const std::string& container_id);

 private:
  explicit Journal(sqlite3* database) : database_(database) {}

  Result<> PutRow(const char* statement, const std::string& key, const std::string& value);
  Result<std::vector<std::string>> Values(const char* statement);

  std::mutex mutex_;
  sqlite3* database_;
};

}  // namespace migrate
