// SPDX-License-Identifier: Apache-2.0
// SQLite with this project's errors: a connection that closes itself, statements, transactions.
//
// For daemon/store only. Not thread safe: the store's mutex is held by whoever calls.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

#include "daemon/base/result.h"

namespace shadow::sqlite {

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Db = std::unique_ptr<sqlite3, Close>;

/// What a code of SQLite means to shadowd: kOutOfSpace, kPermissionDenied, kDataLoss or kIoError.
[[nodiscard]] Error ErrorOf(int code, sqlite3* db);

/// Opens the file for reading and writing, or makes it (0600); ":memory:" for tests.
[[nodiscard]] Result<Db> Open(const std::string& path);

Status Execute(sqlite3* db, const char* sql);

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
    if (code_ != SQLITE_OK) return ErrorOf(code_, db_);
    const int r = sqlite3_step(statement_);
    if (r == SQLITE_ROW) return true;
    if (r == SQLITE_DONE) return false;
    return ErrorOf(r, db_);
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

/// All of `body` becomes durable, or nothing. Returns the first error.
template <typename F>
Status Transaction(sqlite3* db, F body) {
  SHADOW_TRY(Execute(db, "BEGIN IMMEDIATE"));
  Status done = body();
  if (done.ok()) done = Execute(db, "COMMIT");
  // A full disk may have rolled back by itself: the error that matters is the first one.
  if (!done.ok()) (void)Execute(db, "ROLLBACK");
  return done;
}

}  // namespace shadow::sqlite
