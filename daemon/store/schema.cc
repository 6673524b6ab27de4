// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/schema.h"

#include <array>
#include <nlohmann/json.hpp>
#include <vector>

namespace shadow {
namespace {

using nlohmann::json;
using sqlite::Execute;
using sqlite::Statement;

// 1: volumes and modifications.
Status FirstTables(sqlite3* db) {
  return Execute(db, R"sql(
    CREATE TABLE IF NOT EXISTS volumes(name TEXT PRIMARY KEY, record TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS modifications(
      number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, volume TEXT NOT NULL,
      record TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS modifications_by_volume ON modifications(volume);
    CREATE TABLE IF NOT EXISTS history(
      number INTEGER PRIMARY KEY AUTOINCREMENT, modification TEXT NOT NULL,
      at_ms INTEGER NOT NULL, phase INTEGER NOT NULL, note TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS history_by_modification ON history(modification);
    CREATE TABLE IF NOT EXISTS requests(
      id TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, object TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS events(
      seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, volume TEXT NOT NULL,
      modification TEXT NOT NULL, severity TEXT NOT NULL, what TEXT NOT NULL,
      message TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS speeds(
      key TEXT PRIMARY KEY, read_bandwidth INTEGER NOT NULL, write_bandwidth INTEGER NOT NULL,
      read_latency_us INTEGER NOT NULL);
  )sql");
}

// 2: tiers.
Status TierTable(sqlite3* db) {
  return Execute(db,
                 "CREATE TABLE IF NOT EXISTS tiers(volume TEXT PRIMARY KEY, record TEXT NOT NULL)");
}

// Where in a record of version 2 a number stood for an enumerator, and the names by number.
struct NumberedField {
  std::vector<const char*> path;
  std::vector<const char*> names;
};

const std::vector<const char*> kV2Impact = {"low", "balanced", "full"};
const std::vector<const char*> kV2Retire = {"never", "cold", "eager"};
const std::vector<const char*> kV2Level = {"tier1", "tier2"};
const std::vector<const char*> kV2TierPhase = {"none",     "adding",     "active",
                                               "removing", "forgetting", "releasing"};
const std::vector<const char*> kV2Phase = {
    "PLANNED",      "PREPARING", "COPYING",         "PAUSED",    "CATCHING_UP",
    "CUTTING_OVER", "GRACE",     "DECOMMISSIONING", "COMPLETED", "ABORTING",
    "ROLLING_BACK", "ABORTED",   "FAILED"};
const std::vector<const char*> kV2Step = {"start",
                                          "trim",
                                          "backup",
                                          "make-target",
                                          "extend-origin",
                                          "attach",
                                          "grow-filesystem",
                                          "copy",
                                          "catch-up",
                                          "cut-over",
                                          "grace",
                                          "commit",
                                          "detach",
                                          "release-origin",
                                          "reduce-origin",
                                          "stop-copy",
                                          "remirror",
                                          "roll-back",
                                          "abort-target",
                                          "restore-table",
                                          "release-target",
                                          "shrink-back",
                                          "end"};

// The record with names for numbers; as it was if it is no JSON or a number has no name.
std::string WithNames(const std::string& text, const std::vector<NumberedField>& fields) {
  json record = json::parse(text, nullptr, false);
  if (record.is_discarded()) return text;
  for (const NumberedField& field : fields) {
    json* at = &record;
    for (const char* name : field.path) {
      at = at->is_object() && at->contains(name) ? &(*at)[name] : nullptr;
      if (at == nullptr) break;
    }
    if (at == nullptr) continue;
    if (!at->is_number_unsigned() || at->get<std::uint64_t>() >= field.names.size()) return text;
    *at = field.names[at->get<std::uint64_t>()];
  }
  return record.dump(-1, ' ', false, json::error_handler_t::replace);
}

// `select` gives (rowid, text); `update` takes (text, rowid).
Status Rewrite(sqlite3* db, const char* select, const char* update,
               const std::vector<NumberedField>& fields) {
  std::vector<std::pair<std::int64_t, std::string>> rows;
  Statement all(db, select);
  while (true) {
    SHADOW_ASSIGN(const bool row, all.Step());
    if (!row) break;
    rows.emplace_back(all.Number(0), all.Text(1));
  }
  for (const auto& [id, text] : rows) {
    SHADOW_TRY(Statement(db, update).Bind(WithNames(text, fields)).Bind(id).Run());
  }
  return Ok();
}

// 3: enumerators by name, so that a later one in the middle changes the meaning of no record.
Status NamesForNumbers(sqlite3* db) {
  SHADOW_TRY(Rewrite(db, "SELECT rowid, record FROM volumes",
                     "UPDATE volumes SET record = ? WHERE rowid = ?",
                     {{{"state"}, {"creating", "active", "removing"}}}));
  SHADOW_TRY(Rewrite(db, "SELECT rowid, record FROM tiers",
                     "UPDATE tiers SET record = ? WHERE rowid = ?",
                     {{{"tier1", "phase"}, kV2TierPhase},
                      {{"tier2", "phase"}, kV2TierPhase},
                      {{"policy", "impact"}, kV2Impact}}));
  SHADOW_TRY(Rewrite(db, "SELECT number, record FROM modifications",
                     "UPDATE modifications SET record = ? WHERE number = ?",
                     {{{"request", "impact"}, kV2Impact},
                      {{"request", "retire"}, kV2Retire},
                      {{"state", "kind"}, {"move", "grow", "shrink"}},
                      {{"state", "step"}, kV2Step},
                      {{"state", "ending"}, {"none", "abort", "roll-back", "fail"}}}));
  SHADOW_TRY(Rewrite(db, "SELECT rowid, body FROM requests WHERE kind = 'modify'",
                     "UPDATE requests SET body = ? WHERE rowid = ?",
                     {{{"impact"}, kV2Impact}, {{"retire"}, kV2Retire}}));
  SHADOW_TRY(Rewrite(db, "SELECT rowid, body FROM requests WHERE kind LIKE 'tier-%'",
                     "UPDATE requests SET body = ? WHERE rowid = ?", {{{"level"}, kV2Level}}));
  SHADOW_TRY(Execute(db, R"sql(
    ALTER TABLE history RENAME TO history_v2;
    DROP INDEX history_by_modification;
    CREATE TABLE history(
      number INTEGER PRIMARY KEY AUTOINCREMENT, modification TEXT NOT NULL,
      at_ms INTEGER NOT NULL, phase TEXT NOT NULL, note TEXT NOT NULL);
    CREATE INDEX history_by_modification ON history(modification);
    INSERT INTO history SELECT * FROM history_v2;
    DROP TABLE history_v2;
  )sql"));
  for (std::size_t i = 0; i < kV2Phase.size(); ++i) {
    SHADOW_TRY(Statement(db, "UPDATE history SET phase = ? WHERE phase = ?")
                   .Bind(kV2Phase[i])
                   .Bind(std::to_string(i))
                   .Run());
  }
  return Ok();
}

// 4: what may be removed is decided by these records alone. Before, a removal was recorded first
// and done at the next start when it had failed; "made here" was read from tags, also of what was
// imported; and an import was forgotten with the first move.
Status OwnershipInRecords(sqlite3* db) {
  return Execute(db, R"sql(
    UPDATE volumes SET record = json_set(record, '$.state', 'active', '$.remove_origin',
                                         json('false'))
      WHERE CASE WHEN json_valid(record) THEN json_extract(record, '$.state') END = 'removing';
    UPDATE modifications SET record = json_set(record, '$.origin.made', json('false'))
      WHERE json_valid(record) AND volume IN
        (SELECT name FROM volumes
         WHERE CASE WHEN json_valid(record) THEN json_extract(record, '$.imported') END = 1);
    UPDATE volumes SET record = json_set(record, '$.origin.made', json('false'))
      WHERE CASE WHEN json_valid(record) THEN json_extract(record, '$.imported') END = 1;
    UPDATE volumes SET record = json_set(record, '$.imported', json('true'))
      WHERE json_valid(record) AND EXISTS
        (SELECT 1 FROM requests WHERE kind = 'import' AND object = volumes.name);
  )sql");
}

// 5: who has which device, one owner for each (kept by the store with every record), and what was
// given back. Where two volumes had one device already, the first keeps it.
Status DevicesInUse(sqlite3* db) {
  return Execute(db, R"sql(
    CREATE TABLE devices(id TEXT PRIMARY KEY, volume TEXT NOT NULL, role TEXT NOT NULL);
    CREATE INDEX devices_by_volume ON devices(volume);
    CREATE TABLE released(
      id TEXT PRIMARY KEY, reusable INTEGER NOT NULL, signatures TEXT NOT NULL,
      note TEXT NOT NULL);
    INSERT OR IGNORE INTO devices SELECT id, volume, role FROM (
      SELECT json_extract(record, '$.origin.id') AS id, name AS volume, 'origin' AS role
        FROM (SELECT * FROM volumes WHERE json_valid(record))
      UNION ALL SELECT json_extract(record, '$.metadata.id'), name, 'metadata'
        FROM (SELECT * FROM volumes WHERE json_valid(record))
      UNION ALL SELECT json_extract(record, '$.origin.id'), volume, 'origin'
        FROM (SELECT * FROM modifications WHERE json_valid(record))
        WHERE json_extract(record, '$.state.step') <> 'end'
      UNION ALL SELECT json_extract(record, '$.target.id'), volume, 'target'
        FROM (SELECT * FROM modifications WHERE json_valid(record))
        WHERE json_extract(record, '$.state.step') <> 'end'
      UNION ALL SELECT json_extract(record, '$.tier1.leg.id'), volume, 'tier1'
        FROM (SELECT * FROM tiers WHERE json_valid(record))
      UNION ALL SELECT json_extract(record, '$.tier2.leg.id'), volume, 'tier2'
        FROM (SELECT * FROM tiers WHERE json_valid(record))
    ) WHERE id IS NOT NULL AND id <> '';
  )sql");
}

struct Upgrade {
  int version;
  Status (*apply)(sqlite3* db);
};

// In order, without gaps. CREATE TABLE IF NOT EXISTS only where a released program may have made
// the table without raising the version (1 and 2).
constexpr std::array<Upgrade, 5> kUpgrades = {{
    {1, FirstTables},
    {2, TierTable},
    {3, NamesForNumbers},
    {4, OwnershipInRecords},
    {5, DevicesInUse},
}};

}  // namespace

int SchemaVersion() { return kUpgrades.back().version; }

Status UpgradeSchema(sqlite3* db) {
  std::int64_t version = 0;
  {
    Statement s(db, "PRAGMA user_version");
    SHADOW_ASSIGN([[maybe_unused]] const bool row, s.Step());
    version = s.Number(0);
  }
  if (version > SchemaVersion()) {
    return MakeError(Code::kDataLoss,
                     "shadowd's state file is of version " + std::to_string(version) +
                         ", later than this program's " + std::to_string(SchemaVersion()) + ".",
                     "use the later shadowd");
  }
  if (version == SchemaVersion()) return Ok();
  return sqlite::Transaction(db, [&]() -> Status {
    for (const Upgrade& upgrade : kUpgrades) {
      if (upgrade.version > version) SHADOW_TRY(upgrade.apply(db));
    }
    return Execute(db, ("PRAGMA user_version = " + std::to_string(SchemaVersion())).c_str());
  });
}

}  // namespace shadow
