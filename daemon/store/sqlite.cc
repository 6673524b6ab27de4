// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/sqlite.h"

#include <fcntl.h>
#include <unistd.h>

namespace shadow::sqlite {

Error ErrorOf(int code, sqlite3* db) {
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

Result<Db> Open(const std::string& path) {
  // SQLite gives the files beside it the mode of this one.
  if (path != ":memory:") {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) close(fd);
  }
  sqlite3* raw = nullptr;
  const int r =
      sqlite3_open_v2(path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Db db(raw);
  if (r != SQLITE_OK) return ErrorOf(r, raw);
  sqlite3_busy_timeout(raw, 5000);
  SHADOW_TRY(Execute(raw, "PRAGMA journal_mode = WAL"));
  SHADOW_TRY(Execute(raw, "PRAGMA synchronous = FULL"));
  return db;
}

Status Execute(sqlite3* db, const char* sql) {
  const int r = sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
  if (r != SQLITE_OK) return ErrorOf(r, db);
  return Ok();
}

}  // namespace shadow::sqlite
