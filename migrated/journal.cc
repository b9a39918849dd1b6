#include "migrated/journal.h"

#include <sqlite3.h>

#include <ctime>

#include "migrated/resolve.h"

namespace migrate {
namespace {

// Format of the rows, apart from the version of the program: a newer one is refused, not guessed.
constexpr int kJournalVersion = 1;
constexpr int kBusyTimeoutMs = 1000;

constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS migrations (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT UNIQUE NOT NULL, record BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS lineages (id TEXT PRIMARY KEY, record BLOB NOT NULL);";

class Statement {
 public:
  Statement(sqlite3* database, const char* text) {
    sqlite3_prepare_v2(database, text, -1, &statement_, nullptr);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }
  sqlite3_stmt* get() const { return statement_; }

 private:
  sqlite3_stmt* statement_ = nullptr;
};

Error SqliteError(sqlite3* database, std::string_view what) {
  const int code = sqlite3_errcode(database);
  return MakeError(code == SQLITE_FULL ? ErrorCode::kResourceExhausted : ErrorCode::kInternal,
                   "journal: " + std::string(what) + ": " + sqlite3_errmsg(database));
}

Result<> Execute(sqlite3* database, const std::string& text) {
  if (sqlite3_exec(database, text.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(database, text);
  }
  return {};
}

Result<int> UserVersion(sqlite3* database) {
  const Statement statement(database, "PRAGMA user_version");
  if (statement.get() == nullptr || sqlite3_step(statement.get()) != SQLITE_ROW) {
    return SqliteError(database, "read the version");
  }
  return sqlite3_column_int(statement.get(), 0);
}

Result<> SetUp(sqlite3* database, const std::string& path) {
  // The watchdog of a daemon that died reads it for a moment.
  sqlite3_busy_timeout(database, kBusyTimeoutMs);
  TRY(Execute(database, "PRAGMA locking_mode=EXCLUSIVE"));
  if (auto wal = Execute(database, "PRAGMA journal_mode=WAL; BEGIN EXCLUSIVE; COMMIT"); !wal) {
    return MakeError(ErrorCode::kAlreadyExists,
                     path + ": in use, so another migrated runs with this state directory (" +
                         wal.error().message + ")");
  }
  TRY(Execute(database, "PRAGMA synchronous=FULL"));
  const int version = TRY(UserVersion(database));
  if (version > kJournalVersion) {
    return MakeError(ErrorCode::kVersionMismatch,
                     path + ": written by a newer migrated (journal version " +
                         std::to_string(version) + "); install that version");
  }
  TRY(Execute(database, kSchema));
  return Execute(database, "PRAGMA user_version=" + std::to_string(kJournalVersion));
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  sqlite3* database = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Journal> journal(new Journal(database));
  if (opened != SQLITE_OK) {
    return SqliteError(database, "open " + path);
  }
  TRY(SetUp(database, path));
  return journal;
}

Result<v1::MigrationRecord> Journal::ReadUnowned(const std::string& path, const std::string& id) {
  sqlite3* database = nullptr;
  // Not read-only: what the dead daemon wrote last has to be recovered from the WAL.
  const int opened = sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> owner(database, sqlite3_close);
  if (opened != SQLITE_OK) {
    return SqliteError(database, "open " + path);
  }
  const Statement statement(database, "SELECT record FROM migrations WHERE id = ?1");
  int row = SQLITE_ERROR;
  if (statement.get() != nullptr &&
      sqlite3_bind_text(statement.get(), 1, id.data(), static_cast<int>(id.size()),
                        SQLITE_STATIC) == SQLITE_OK) {
    row = sqlite3_step(statement.get());
  }
  const int error = sqlite3_errcode(database) & 0xff;
  if (row == SQLITE_DONE) {
    return MakeError(ErrorCode::kNotFound, path + ": no migration " + id);
  }
  if (row != SQLITE_ROW) {
    Error failed = SqliteError(database, "read " + id);
    failed.code = error == SQLITE_BUSY || error == SQLITE_LOCKED ? ErrorCode::kUnavailable
                                                                 : ErrorCode::kInternal;
    return failed;
  }
  v1::MigrationRecord record;
  if (!record.ParseFromArray(sqlite3_column_blob(statement.get(), 0),
                             sqlite3_column_bytes(statement.get(), 0))) {
    return MakeError(ErrorCode::kDataLoss, "journal: a record cannot be read");
  }
  return record;
}

Journal::~Journal() { sqlite3_close(database_); }

Result<> Journal::PutRow(const char* text, const std::string& key, const std::string& value) {
  const std::lock_guard lock(mutex_);
  const Statement statement(database_, text);
  if (statement.get() == nullptr ||
      sqlite3_bind_text(statement.get(), 1, key.data(), static_cast<int>(key.size()),
                        SQLITE_STATIC) != SQLITE_OK ||
      sqlite3_bind_blob64(statement.get(), 2, value.data(), value.size(), SQLITE_STATIC) !=
          SQLITE_OK ||
      sqlite3_step(statement.get()) != SQLITE_DONE) {
    return SqliteError(database_, "write " + key);
  }
  return {};
}

Result<std::vector<std::string>> Journal::Values(const char* text) {
  const std::lock_guard lock(mutex_);
  const Statement statement(database_, text);
  std::vector<std::string> values;
  if (statement.get() == nullptr) {
    return SqliteError(database_, "read");
  }
  for (;;) {
    const int row = sqlite3_step(statement.get());
    if (row == SQLITE_DONE) {
      return values;
    }
    if (row != SQLITE_ROW) {
      return SqliteError(database_, "read");
    }
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement.get(), 0));
    values.emplace_back(data, static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), 0)));
  }
}

namespace {

template <typename Record>
Result<std::vector<Record>> Parse(const std::vector<std::string>& values) {
  std::vector<Record> records;
  for (const std::string& value : values) {
    Record record;
    if (!record.ParseFromString(value)) {
      return MakeError(ErrorCode::kDataLoss, "journal: a record cannot be read");
    }
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace

Result<> Journal::Put(const v1::MigrationRecord& record) {
  return PutRow(
      "INSERT INTO migrations (id, record) VALUES (?1, ?2)"
      " ON CONFLICT (id) DO UPDATE SET record = ?2",
      record.migration().id(), record.SerializeAsString());
}

Result<std::vector<v1::MigrationRecord>> Journal::Migrations() {
  auto records =
      TRY(Parse<v1::MigrationRecord>(TRY(Values("SELECT record FROM migrations ORDER BY seq"))));
  std::erase_if(records, [](const v1::MigrationRecord& record) { return record.recording(); });
  return records;
}

Result<std::vector<v1::MigrationRecord>> Journal::Recordings() {
  auto records =
      TRY(Parse<v1::MigrationRecord>(TRY(Values("SELECT record FROM migrations ORDER BY seq"))));
  std::erase_if(records, [](const v1::MigrationRecord& record) { return !record.recording(); });
  return records;
}

Result<> Journal::EraseRecording(const std::string& id) {
  return PutRow("DELETE FROM migrations WHERE id = ?1 AND ?2 IS NOT NULL", id, "x");
}

Result<int> Journal::EraseEnded(std::size_t kept, std::chrono::seconds age) {
  std::vector<v1::MigrationRecord> ended = TRY(Migrations());
  std::erase_if(ended, [](const v1::MigrationRecord& record) {
    return !HasEnded(record.migration()) || record.undo_size() > 0;
  });
  const std::int64_t oldest = std::time(nullptr) - age.count();
  int erased = 0;
  for (std::size_t i = 0; i < ended.size(); ++i) {
    const v1::Migration& migration = ended[i].migration();
    if (i + kept < ended.size() || migration.start_time().seconds() < oldest) {
      TRY(PutRow("DELETE FROM migrations WHERE id = ?1 AND ?2 IS NOT NULL", migration.id(), "x"));
      ++erased;
    }
  }
  return erased;
}

Result<> Journal::Put(const v1::LineageRecord& record) {
  return PutRow(
      "INSERT INTO lineages (id, record) VALUES (?1, ?2)"
      " ON CONFLICT (id) DO UPDATE SET record = ?2",
      record.lineage().id(), record.SerializeAsString());
}

Result<> Journal::EraseLineage(const std::string& lineage_id) {
  return PutRow("DELETE FROM lineages WHERE id = ?1 AND ?2 IS NOT NULL", lineage_id, "x");
}

Result<std::vector<v1::LineageRecord>> Journal::Lineages() {
  return Parse<v1::LineageRecord>(TRY(Values("SELECT record FROM lineages ORDER BY id")));
}

Result<std::optional<v1::LineageRecord>> Journal::FindLineage(const std::string& container_id) {
  for (v1::LineageRecord& record : TRY(Lineages())) {
    if (record.container_id() == container_id) {
      return std::optional(std::move(record));
    }
  }
  return std::optional<v1::LineageRecord>();
}

}  // namespace migrate
