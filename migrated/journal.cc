#include "migrated/journal.h"

#include <sqlite3.h>

namespace migrate {
namespace {

// Format of the rows, apart from the version of the program: a newer one is refused, not guessed.
constexpr int kJournalVersion = 1;

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
  return Parse<v1::MigrationRecord>(TRY(Values("SELECT record FROM migrations ORDER BY seq")));
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
