// SPDX-License-Identifier: Apache-2.0
// A copy of a state file that cannot be written, in memory, to read from.
//
// SQLite cannot open a file in WAL mode where it cannot write: it has to make files beside it. So
// the file and its write-ahead log are copied to a tmpfs (/run, else /dev/shm, else /tmp) and
// opened there; what was committed but not yet moved out of the log is seen, too. The caller holds
// the lock of the state directory: nobody writes the file meanwhile. The copy goes with the object.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "daemon/store/sqlite.h"

namespace shadow {

class ScratchCopy {
 public:
  /// kNotFound when there is no such file.
  [[nodiscard]] static Result<std::unique_ptr<ScratchCopy>> Of(const std::string& path);
  ~ScratchCopy();
  ScratchCopy(const ScratchCopy&) = delete;
  ScratchCopy& operator=(const ScratchCopy&) = delete;

  /// The open copy, of today's schema. Once.
  [[nodiscard]] sqlite::Db TakeDb() { return std::move(db_); }
  /// The last event that the file itself has.
  [[nodiscard]] std::int64_t LastEvent() const { return last_event_; }

 private:
  explicit ScratchCopy(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
  sqlite::Db db_;
  std::int64_t last_event_ = 0;
};

}  // namespace shadow
