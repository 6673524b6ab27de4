// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/store.h"

#include <array>
#include <chrono>
#include <map>
#include <mutex>

#include "daemon/store/codec.h"
#include "daemon/store/schema.h"
#include "daemon/store/scratch_copy.h"
#include "daemon/store/sqlite.h"

namespace shadow {
namespace {

using sqlite::Db;
using sqlite::Statement;

constexpr std::uint64_t kMaxEvents = 10'000;
constexpr std::int64_t kMaxRequests = 10'000;

Status ProveWritable(sqlite3* db) {
  SHADOW_TRY(Statement(db, "INSERT OR REPLACE INTO speeds VALUES('doctor', 0, 0, 0)").Run());
  return Statement(db, "DELETE FROM speeds WHERE key = 'doctor'").Run();
}

// The file itself, of today's schema and proved to be writable.
Result<Db> OpenFile(const StoreOptions& options) {
  SHADOW_ASSIGN(Db db, sqlite::Open(options.path));
  SHADOW_TRY(UpgradeSchema(db.get()));
  SHADOW_TRY(sqlite::Transaction(db.get(), [&] { return ProveWritable(db.get()); }));
  if (options.max_pages > 0) {
    const std::string limit = "PRAGMA max_page_count = " + std::to_string(options.max_pages);
    SHADOW_TRY(sqlite::Execute(db.get(), limit.c_str()));
  }
  return db;
}

class SqliteStore final : public Store {
 public:
  SqliteStore(Db db, StoreOptions options) : db_(std::move(db)), options_(std::move(options)) {}
  /// The file cannot be written: `copy` is used for reading, and for events, until it can.
  SqliteStore(std::unique_ptr<ScratchCopy> copy, Error why, StoreOptions options)
      : copy_(std::move(copy)), options_(std::move(options)), read_only_(std::move(why)) {
    db_ = copy_->TakeDb();
  }

  Result<std::vector<VolumeRecord>> Volumes() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT record FROM volumes ORDER BY name");
    std::vector<VolumeRecord> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      auto record = DecodeVolume(s.Text(0));
      if (record.ok()) all.push_back(std::move(*record));
    }
  }

  Status PutVolume(const VolumeRecord& record, const RequestRecord* request) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(WriteVolume(record));
      SHADOW_TRY(TakeDevices(record.name));
      return request != nullptr ? WriteRequest(*request) : Ok();
    });
  }

  Status RemoveVolume(const std::string& name) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(Statement(db_.get(), "DELETE FROM volumes WHERE name = ?").Bind(name).Run());
      SHADOW_TRY(Statement(db_.get(), "DELETE FROM tiers WHERE volume = ?").Bind(name).Run());
      SHADOW_TRY(TakeDevices(name));
      // The name may be used again: its old request ids must not answer for the new volume.
      return Statement(db_.get(), "DELETE FROM requests WHERE object = ? AND kind <> 'modify'")
          .Bind(name)
          .Run();
    });
  }

  Result<std::vector<DamagedRow>> Damaged() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<DamagedRow> bad;
    const auto scan = [&](const char* sql, const char* what, auto decode) -> Status {
      Statement s(db_.get(), sql);
      while (true) {
        SHADOW_ASSIGN(const bool row, s.Step());
        if (!row) return Ok();
        if (!decode(s.Text(2)).ok()) bad.push_back({what, s.Text(0), s.Text(1)});
      }
    };
    SHADOW_TRY(scan("SELECT name, name, record FROM volumes", "volume", DecodeVolume));
    SHADOW_TRY(scan("SELECT volume, volume, record FROM tiers", "tiers", DecodeTiers));
    SHADOW_TRY(
        scan("SELECT volume, id, record FROM modifications", "modification", DecodeModification));
    return bad;
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
      SHADOW_TRY(TakeDevices(record.volume));
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
                .Bind(PhaseName(update.history->phase))
                .Bind(update.history->note)
                .Run());
      }
      if (update.volume != nullptr) SHADOW_TRY(WriteVolume(*update.volume));
      SHADOW_TRY(TakeDevices(m.volume));
      return update.request != nullptr ? WriteRequest(*update.request) : Ok();
    });
  }

  Result<std::vector<ModificationRecord>> Modifications(const std::string& volume) override {
    return NewestModifications(volume, INT64_MAX);
  }

  Result<std::vector<ModificationRecord>> NewestModifications(const std::string& volume,
                                                              std::size_t limit) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(),
                "SELECT record FROM modifications WHERE ?1 = '' OR volume = ?1 "
                "ORDER BY number DESC LIMIT ?2");
    s.Bind(volume).Bind(static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX)));
    std::vector<ModificationRecord> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      auto record = DecodeModification(s.Text(0));
      if (record.ok()) all.push_back(std::move(*record));
    }
  }

  Result<std::optional<DeviceOwner>> OwnerOf(const std::string& device_id) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Owner(device_id);
  }

  Result<std::map<std::string, DeviceOwner>> Owners() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT id, volume, role FROM devices");
    std::map<std::string, DeviceOwner> all;
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      all[s.Text(0)] = {s.Text(1), s.Text(2)};
    }
  }

  Status PutReleased(const ReleasedDevice& device) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    SHADOW_TRY(TryToWrite());
    return Statement(db_.get(), "INSERT OR REPLACE INTO released VALUES(?, ?, ?, ?)")
        .Bind(device.id)
        .Bind(static_cast<std::int64_t>(device.reusable ? 1 : 0))
        .Bind(device.signatures)
        .Bind(device.note)
        .Run();
  }

  Result<std::optional<ReleasedDevice>> FindReleased(const std::string& device_id) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT reusable, signatures, note FROM released WHERE id = ?");
    s.Bind(device_id);
    SHADOW_ASSIGN(const bool row, s.Step());
    if (!row) return std::optional<ReleasedDevice>();
    return std::optional<ReleasedDevice>(
        ReleasedDevice{device_id, s.Number(0) != 0, s.Text(1), s.Text(2)});
  }

  Result<std::optional<ModificationRecord>> FindModification(const std::string& id) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Statement s(db_.get(), "SELECT record FROM modifications WHERE id = ?");
    s.Bind(id);
    SHADOW_ASSIGN(const bool row, s.Step());
    if (!row) return std::optional<ModificationRecord>();
    SHADOW_ASSIGN(ModificationRecord record, DecodeModification(s.Text(0)));
    return std::optional<ModificationRecord>(std::move(record));
  }

  Status Prune(std::int64_t before_ms) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Transaction([&]() -> Status {
      SHADOW_TRY(Statement(db_.get(),
                           "DELETE FROM modifications WHERE json_valid(record) AND "
                           "json_extract(record, '$.state.step') = 'end' AND "
                           "json_extract(record, '$.finished_ms') BETWEEN 1 AND ? AND "
                           "json_extract(record, '$.wiped') IS NULL")
                     .Bind(before_ms)
                     .Run());
      SHADOW_TRY(Statement(db_.get(),
                           "DELETE FROM history WHERE modification NOT IN "
                           "(SELECT id FROM modifications)")
                     .Run());
      SHADOW_TRY(Statement(db_.get(),
                           "DELETE FROM requests WHERE kind = 'modify' AND object NOT IN "
                           "(SELECT id FROM modifications)")
                     .Run());
      // Those of volumes and tiers; they go with the volume otherwise.
      return Statement(db_.get(),
                       "DELETE FROM requests WHERE kind <> 'modify' AND "
                       "rowid <= (SELECT max(rowid) FROM requests) - ?")
          .Bind(kMaxRequests)
          .Run();
    });
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
      const auto phase = PhaseOfName(s.Text(1));
      if (phase) all.push_back({s.Number(0), *phase, s.Text(2)});
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
    (void)TryToWrite();  // if it fails the copy keeps the event
    return WriteEvent(e);
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
      all.push_back(EventOf(s));
    }
  }

  Status PutSpeed(const std::string& key, const DeviceSpeed& speed) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    SHADOW_TRY(TryToWrite());
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
    return Transaction([&]() -> Status { return ProveWritable(db_.get()); });
  }

 private:
  // Before every write but an event's: when the file could not be written, tries it again now and
  // then, and goes over to it when it can be.
  Status TryToWrite() {
    if (!read_only_) return Ok();
    const auto now = std::chrono::steady_clock::now();
    if (now - tried_ >= std::chrono::milliseconds(options_.retry_ms)) {
      tried_ = now;
      auto file = OpenFile(options_);
      if (file.ok()) {
        SHADOW_ASSIGN(const std::vector<Event> told, NewEvents());
        db_ = std::move(*file);
        copy_.reset();
        read_only_.reset();
        for (const Event& e : told) (void)WriteEvent(e);
        return Ok();
      }
      read_only_ = file.error();
    }
    Error error = *read_only_;
    error.message = "shadowd can only read its state: " + error.message;
    return error;
  }

  // Events that were told since the copy was made.
  Result<std::vector<Event>> NewEvents() {
    std::vector<Event> all;
    Statement s(db_.get(),
                "SELECT seq, at_ms, volume, modification, severity, what, message FROM events "
                "WHERE seq > ? ORDER BY seq");
    s.Bind(copy_->LastEvent());
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) return all;
      all.push_back(EventOf(s));
    }
  }

  static Event EventOf(Statement& s) {
    return {static_cast<std::uint64_t>(s.Number(0)),
            s.Number(1),
            s.Text(2),
            s.Text(3),
            s.Text(4),
            s.Text(5),
            s.Text(6)};
  }

  template <typename F>
  Status Transaction(F body) {
    SHADOW_TRY(TryToWrite());
    return sqlite::Transaction(db_.get(), body);
  }

  Result<std::uint64_t> WriteEvent(const Event& e) {
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

  Status WriteVolume(const VolumeRecord& record) {
    return Statement(db_.get(), "INSERT OR REPLACE INTO volumes(name, record) VALUES(?, ?)")
        .Bind(record.name)
        .Bind(Encode(record))
        .Run();
  }

  Result<std::optional<DeviceOwner>> Owner(const std::string& device_id) {
    Statement s(db_.get(), "SELECT volume, role FROM devices WHERE id = ?");
    s.Bind(device_id);
    SHADOW_ASSIGN(const bool row, s.Step());
    if (!row) return std::optional<DeviceOwner>();
    return std::optional<DeviceOwner>(DeviceOwner{s.Text(0), s.Text(1)});
  }

  // The devices of a volume are those its records name now: its own, its tiers', and those of the
  // modification under way. Part of the transaction that wrote one of them.
  Status TakeDevices(const std::string& volume) {
    std::map<std::string, std::string> wanted;  // id -> role
    Statement s(db_.get(), R"sql(
      SELECT json_extract(record, '$.tier2.leg.id'), 'tier2'
        FROM (SELECT * FROM tiers WHERE volume = ?1 AND json_valid(record))
      UNION ALL SELECT json_extract(record, '$.tier1.leg.id'), 'tier1'
        FROM (SELECT * FROM tiers WHERE volume = ?1 AND json_valid(record))
      UNION ALL SELECT json_extract(record, '$.target.id'), 'target'
        FROM (SELECT * FROM modifications WHERE volume = ?1 AND json_valid(record))
        WHERE json_extract(record, '$.state.step') <> 'end'
      UNION ALL SELECT json_extract(record, '$.origin.id'), 'origin'
        FROM (SELECT * FROM modifications WHERE volume = ?1 AND json_valid(record))
        WHERE json_extract(record, '$.state.step') <> 'end'
      UNION ALL SELECT json_extract(record, '$.metadata.id'), 'metadata'
        FROM (SELECT * FROM volumes WHERE name = ?1 AND json_valid(record))
      UNION ALL SELECT json_extract(record, '$.origin.id'), 'origin'
        FROM (SELECT * FROM volumes WHERE name = ?1 AND json_valid(record))
    )sql");
    s.Bind(volume);
    while (true) {
      SHADOW_ASSIGN(const bool row, s.Step());
      if (!row) break;
      if (!s.Text(0).empty()) wanted[s.Text(0)] = s.Text(1);
    }
    SHADOW_TRY(Statement(db_.get(), "DELETE FROM devices WHERE volume = ?").Bind(volume).Run());
    for (const auto& [id, role] : wanted) {
      SHADOW_ASSIGN(const std::optional<DeviceOwner> owner, Owner(id));
      if (owner) {
        return MakeError(Code::kAborted,
                         "The device (" + id + ") is the " + owner->role + " of the volume " +
                             owner->volume + ".",
                         "name another device");
      }
      SHADOW_TRY(Statement(db_.get(), "INSERT INTO devices VALUES(?, ?, ?)")
                     .Bind(id)
                     .Bind(volume)
                     .Bind(role)
                     .Run());
    }
    return Ok();
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
  std::unique_ptr<ScratchCopy> copy_;  // outlives db_ while there is one
  Db db_;
  StoreOptions options_;
  std::optional<Error> read_only_;  // why the file cannot be written
  std::chrono::steady_clock::time_point tried_ = std::chrono::steady_clock::now();
};

}  // namespace

Result<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) {
  auto file = OpenFile(options);
  if (file.ok()) {
    return std::unique_ptr<Store>(std::make_unique<SqliteStore>(std::move(*file), options));
  }
  const Error why = file.error();
  if (why.code == Code::kDataLoss) return why;
  // What cannot be written may still be read: volumes come up, changes are refused.
  auto copy = ScratchCopy::Of(options.path);
  if (!copy.ok()) return copy.error().code == Code::kNotFound ? why : copy.error();
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(std::move(*copy), why, options));
}

}  // namespace shadow
