// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/store.h"

#include <sqlite3.h>

#include <array>
#include <mutex>

#include "daemon/store/codec.h"

namespace shadow {
namespace {

constexpr int kSchemaVersion = 2;  // 2: tiers
constexpr std::uint64_t kMaxEvents = 10'000;

constexpr const char* kSchema = R"sql(
  CREATE TABLE IF NOT EXISTS volumes(name TEXT PRIMARY KEY, record TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS tiers(volume TEXT PRIMARY KEY, record TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS modifications(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, volume TEXT NOT NULL,
    record TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS modifications_by_volume ON modifications(volume);
  CREATE TABLE IF NOT EXISTS history(
    number INTEGER PRIMARY KEY AUTOINCREMENT, modification TEXT NOT NULL, at_ms INTEGER NOT NULL,
    phase INTEGER NOT NULL, note TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS history_by_modification ON history(modification);
  CREATE TABLE IF NOT EXISTS requests(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, object TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS events(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, volume TEXT NOT NULL,
    modification TEXT NOT NULL, severity TEXT NOT NULL, what TEXT NOT NULL, message TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS speeds(
    key TEXT PRIMARY KEY, read_bandwidth INTEGER NOT NULL, write_bandwidth INTEGER NOT NULL,
    read_latency_us INTEGER NOT NULL);
)sql";

struct CloseDb {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Db = std::unique_ptr<sqlite3, CloseDb>;

Error FromSqlite(int code, sqlite3* db) {
  const std::string why = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return MakeError(Code::kOutOfSpace, "The disk under shadowd's state directory is full.",
                       "make room there; nothing was changed");
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return MakeError(Code::kPermissionDenied, "shadowd may not write its state: " + why + ".",
                       "look at the owner and mode of the state directory");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return MakeError(Code::kDataLoss, "shadowd's state file is damaged: " + why + ".",
                       "restore the state directory from a backup");
    case SQLITE_CANTOPEN:
      return MakeError(Code::kPermissionDenied,
                       "shadowd's state file cannot be opened: " + why + ".",
                       "look at the state directory (--state-dir)");
    default:
      return MakeError(Code::kIoError,
                       "shadowd's state could not be read or written: " + why + ".");
  }
}

// One prepared statement, bound left to right, stepped row by row.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) : db_(db) {
    code_ = sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(const std::string& text) {
    if (code_ == SQLITE_OK) {
      code_ = sqlite3_bind_text(statement_, ++at_, text.data(), static_cast<int>(text.size()),
                                SQLITE_TRANSIENT);
    }
    return *this;
  }
  Statement& Bind(std::int64_t number) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(statement_, ++at_, number);
    return *this;
  }
  // True: there is a row.
  Result<bool> Step() {
    if (code_ != SQLITE_OK) return FromSqlite(code_, db_);
    const int r = sqlite3_step(statement_);
    if (r == SQLITE_ROW) return true;
    if (r == SQLITE_DONE) return false;
    return FromSqlite(r, db_);
  }
  Status Run() {
    SHADOW_ASSIGN([[maybe_unused]] const bool row, Step());
    return Ok();
  }
  std::string Text(int column) {
    const auto* text = sqlite3_column_text(statement_, column);
    if (text == nullptr) return "";
    return {reinterpret_cast<const char*>(text),
            static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }
  std::int64_t Number(int column) { return sqlite3_column_int64(statement_, column); }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
  int at_ = 0;
};

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(Db db) : db_(std::move(db)) {}

  Result<std::vector<VolumeRecord>> Volumes() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT record FROM volumes ORDER BY name");
    std::vector<VolumeRecord> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      SHADOW_ASSIGN(VolumeRecord record, DecodeVolume(s.Text(0)));
      all.push_back(std::move(record));
    }
  }

  Status PutVolume(const VolumeRecord& record, const RequestRecord* request) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(WriteVolume(record));
      return request != nullptr ? WriteRequest(*request) : Ok();
    });
  }

  Status RemoveVolume(const std::string& name) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(Statement(db_.get(), "DELETE FROM volumes WHERE name = ?").Bind(name).Run());
      SHADOW_TRY(Statement(db_.get(), "DELETE FROM tiers WHERE volume = ?").Bind(name).Run());
      // The name may be used again: its old request ids must not answer for the new volume.
      return Statement(db_.get(), "DELETE FROM requests WHERE object = ? AND kind <> 'modify'")
          .Bind(name)
          .Run();
    });
  }

  Result<TiersRecord> Tiers(const std::string& volume) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT record FROM tiers WHERE volume = ?");
    s.Bind(volume);
    SHADOW_ASSIGN(const bool row, s.Step());
    if (row) return DecodeTiers(s.Text(0));
    TiersRecord none;
    none.volume = volume;
    return none;
  }

  Status PutTiers(const TiersRecord& record, const RequestRecord* request) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(Statement(db_.get(), "INSERT OR REPLACE INTO tiers(volume, record) VALUES(?, ?)")
                     .Bind(record.volume)
                     .Bind(Encode(record))
                     .Run());
      return request != nullptr ? WriteRequest(*request) : Ok();
    });
  }

  Status PutModification(const ModificationUpdate& update) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      const ModificationRecord& m = *update.record;
      SHADOW_TRY(Statement(db_.get(),
                           "INSERT INTO modifications(id, volume, record) VALUES(?, ?, ?) "
                           "ON CONFLICT(id) DO UPDATE SET record = excluded.record")
                     .Bind(m.id)
                     .Bind(m.volume)
                     .Bind(Encode(m))
                     .Run());
      if (update.history) {
        SHADOW_TRY(
            Statement(db_.get(),
                      "INSERT INTO history(modification, at_ms, phase, note) VALUES(?, ?, ?, ?)")
                .Bind(m.id)
                .Bind(update.history->at_ms)
                .Bind(static_cast<std::int64_t>(update.history->phase))
                .Bind(update.history->note)
                .Run());
      }
      if (update.volume != nullptr) SHADOW_TRY(WriteVolume(*update.volume));
      return update.request != nullptr ? WriteRequest(*update.request) : Ok();
    });
  }

  Result<std::vector<ModificationRecord>> Modifications(const std::string& volume) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(
        db_.get(),
        "SELECT record FROM modifications WHERE ?1 = '' OR volume = ?1 ORDER BY number DESC");
    s.Bind(volume);
    std::vector<ModificationRecord> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      SHADOW_ASSIGN(ModificationRecord record, DecodeModification(s.Text(0)));
      all.push_back(std::move(record));
    }
  }

  Result<std::vector<HistoryEntry>> History(const std::string& modification_id) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(),
                "SELECT at_ms, phase, note FROM history WHERE modification = ? ORDER BY number");
    s.Bind(modification_id);
    std::vector<HistoryEntry> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      all.push_back({s.Number(0), static_cast<Phase>(s.Number(1)), s.Text(2)});
    }
  }

  Result<std::optional<RequestRecord>> FindRequest(const std::string& id) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT kind, body, object FROM requests WHERE id = ?");
    s.Bind(id);
    SHADOW_ASSIGN(const bool row, s.Step());
    if (!row) return std::optional<RequestRecord>();
    return std::optional<RequestRecord>(RequestRecord{id, s.Text(0), s.Text(1), s.Text(2)});
  }

  Result<std::uint64_t> AddEvent(const Event& e) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    SHADOW_TRY(Statement(db_.get(),
                         "INSERT INTO events(at_ms, volume, modification, severity, what, message) "
                         "VALUES(?, ?, ?, ?, ?, ?)")
                   .Bind(e.at_ms)
                   .Bind(e.volume)
                   .Bind(e.modification_id)
                   .Bind(e.severity)
                   .Bind(e.what)
                   .Bind(e.message)
                   .Run());
    const auto seq = static_cast<std::uint64_t>(sqlite3_last_insert_rowid(db_.get()));
    if (seq % 1000 == 0 && seq > kMaxEvents) {
      SHADOW_TRY(Statement(db_.get(), "DELETE FROM events WHERE seq <= ?")
                     .Bind(static_cast<std::int64_t>(seq - kMaxEvents))
                     .Run());
    }
    return seq;
  }

  Result<std::vector<Event>> EventsAfter(std::uint64_t seq, std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(),
                "SELECT seq, at_ms, volume, modification, severity, what, message FROM events "
                "WHERE seq > ? ORDER BY seq LIMIT ?");
    s.Bind(static_cast<std::int64_t>(std::min<std::uint64_t>(seq, INT64_MAX)))
        .Bind(static_cast<std::int64_t>(std::min<std::size_t>(limit, kMaxEvents)));
    std::vector<Event> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      all.push_back({static_cast<std::uint64_t>(s.Number(0)), s.Number(1), s.Text(2), s.Text(3),
                     s.Text(4), s.Text(5), s.Text(6)});
    }
  }

  Status PutSpeed(const std::string& key, const DeviceSpeed& speed) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Statement(db_.get(), "INSERT OR REPLACE INTO speeds VALUES(?, ?, ?, ?)")
        .Bind(key)
        .Bind(static_cast<std::int64_t>(speed.read_bandwidth))
        .Bind(static_cast<std::int64_t>(speed.write_bandwidth))
        .Bind(static_cast<std::int64_t>(speed.read_latency_us))
        .Run();
  }

  Result<std::optional<DeviceSpeed>> FindSpeed(const std::string& key) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(
        db_.get(),
        "SELECT read_bandwidth, write_bandwidth, read_latency_us FROM speeds WHERE key = ?");
    s.Bind(key);
    SHADOW_ASSIGN(const bool row, s.Step());
    if (!row) return std::optional<DeviceSpeed>();
    const auto number = [&](int column) { return static_cast<std::uint64_t>(s.Number(column)); };
    return std::optional<DeviceSpeed>(DeviceSpeed{number(0), number(1), number(2)});
  }

  Status CheckWritable() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(
          Statement(db_.get(), "INSERT OR REPLACE INTO speeds VALUES('doctor', 0, 0, 0)").Run());
      return Statement(db_.get(), "DELETE FROM speeds WHERE key = 'doctor'").Run();
    });
  }

  Status Prepare(std::int64_t max_pages) {
    sqlite3_busy_timeout(db_.get(), 5000);
    SHADOW_TRY(Execute("PRAGMA journal_mode = WAL"));
    SHADOW_TRY(Execute("PRAGMA synchronous = FULL"));
    std::int64_t version = 0;
    {
      Statement s(db_.get(), "PRAGMA user_version");
      SHADOW_ASSIGN([[maybe_unused]] const bool row, s.Step());
      version = s.Number(0);
    }
    if (version > kSchemaVersion) {
      return MakeError(Code::kDataLoss,
                       "shadowd's state file is of version " + std::to_string(version) +
                           ", later than this program's " + std::to_string(kSchemaVersion) + ".",
                       "use the later shadowd");
    }
    Status made = Transaction([&]() -> Status {
      SHADOW_TRY(Execute(kSchema));
      return Execute(("PRAGMA user_version = " + std::to_string(kSchemaVersion)).c_str());
    });
    if (!made.ok()) return made;
    if (max_pages > 0) {
      SHADOW_TRY(Execute(("PRAGMA max_page_count = " + std::to_string(max_pages)).c_str()));
    }
    return Ok();
  }

 private:
  Status Execute(const char* sql) {
    const int r = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
    if (r != SQLITE_OK) return FromSqlite(r, db_.get());
    return Ok();
  }

  template <typename F>
  Status Transaction(F body) {
    SHADOW_TRY(Execute("BEGIN IMMEDIATE"));
    Status done = body();
    if (done.ok()) done = Execute("COMMIT");
    // A full disk may have rolled back by itself: the error that matters is the first one.
    if (!done.ok()) (void)Execute("ROLLBACK");
    return done;
  }

  Status WriteVolume(const VolumeRecord& record) {
    return Statement(db_.get(), "INSERT OR REPLACE INTO volumes(name, record) VALUES(?, ?)")
        .Bind(record.name)
        .Bind(Encode(record))
        .Run();
  }

  Status WriteRequest(const RequestRecord& request) {
    if (request.id.empty()) return Ok();
    return Statement(db_.get(), "INSERT OR REPLACE INTO requests VALUES(?, ?, ?, ?)")
        .Bind(request.id)
        .Bind(request.kind)
        .Bind(request.body)
        .Bind(request.object)
        .Run();
  }

  std::mutex mutex_;
  Db db_;
};

}  // namespace

Result<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) {
  sqlite3* raw = nullptr;
  const int r =
      sqlite3_open_v2(options.path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Db db(raw);
  if (r != SQLITE_OK) return FromSqlite(r, raw);
  auto store = std::make_unique<SqliteStore>(std::move(db));
  SHADOW_TRY(store->Prepare(options.max_pages));
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace shadow
