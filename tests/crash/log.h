// SPDX-License-Identifier: Apache-2.0
// What dm-log-writes recorded: every write, discard, flush and mark below a volume, in one order.
//
// Format: drivers/md/dm-log-writes.c; a super sector, then each entry's sector and its data. A
// write is logged when a flush sent after its completion is done, a FUA write and a mark at once.
// The order is therefore that of completion except in one case, which Disk (disk.h) puts right: a
// plain write that was done before a FUA write to the same place stands behind it, but before the
// next flush entry.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "tests/guest/io/model.h"

namespace shadow::crash {

struct Entry {
  enum class Kind : std::uint8_t { kWrite, kDiscard, kFlush, kMark };
  Kind kind;
  bool fua = false;
  std::uint64_t sector = 0;  // on the logged device; of a flush: somewhere in the slice it was for
  std::uint64_t count = 0;   // sectors
  std::size_t data = 0;      // kWrite: offset in Log::bytes
  std::string mark;          // kMark
};

struct Log {
  std::vector<Entry> entries;
  std::vector<std::uint8_t> bytes;
};

/// Reads a log device or file whose recording has ended. kDataLoss if it is none, or was cut.
Result<Log> LoadLog(const std::string& path);

/// The journal record in a mark of shadow_io (--mark); nothing for any other mark.
std::optional<io::Record> RecordOfMark(const std::string& mark);

}  // namespace shadow::crash
