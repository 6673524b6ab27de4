// SPDX-License-Identifier: Apache-2.0
// What a device may legitimately hold: per sector, the set of values a read may return.
//
// A value is the number of the operation that wrote it (0: zeroes). The model is fed with the same
// events live (under concurrent I/O) and when a journal is replayed after a crash. Not thread-safe:
// the caller holds a lock. Out-of-range sectors are a programming error (checked by at()).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace shadow::io {

enum class Kind : std::uint8_t {
  kWrite = 1,   // pattern with the operation's number
  kZero,        // must read as zeroes afterwards
  kDiscard,     // zeroes in whole blocks, old value or zeroes at the edges
  kAck,         // operation finished without error
  kFail,        // operation failed: its sectors hold the old or the new value, for good
  kFlushStart,  // a flush was sent
  kFlushDone,   // and acknowledged
  kSeen,        // after a crash, this value was read: from now on it must stay
};

/// One journal record; fixed size so that a torn tail is recognised.
struct Record {
  Kind kind;
  std::uint8_t fua = 0;  // kWrite: durable when acknowledged
  std::uint8_t pad[2] = {0, 0};
  std::uint32_t count = 0;   // sectors
  std::uint64_t sector = 0;  // first sector
  std::uint32_t number = 0;  // of the operation (kAck, kFail: which one), kSeen: the value
  std::uint32_t check = 0;   // of the fields above
};
static_assert(sizeof(Record) == 24);

std::uint32_t RecordCheck(const Record& record);

/// When an acknowledged write must survive.
enum class Durable : std::uint8_t {
  kAck,    // at once: the machine under the device lives on, or the device has no volatile cache
  kFlush,  // when a flush that began after it is acknowledged (or FUA)
};

class Model {
 public:
  /// @param sectors      length of the device
  /// @param block_sectors whole blocks that a discard covers must read as zeroes; 0: none must
  Model(std::uint64_t sectors, std::uint32_t block_sectors, Durable durable);

  void Apply(const Record& record);

  /// May a read of `sector` return `value`?
  [[nodiscard]] bool Allows(std::uint64_t sector, std::uint32_t value) const;
  /// "17 or zeroes", for messages.
  [[nodiscard]] std::string Describe(std::uint64_t sector) const;
  [[nodiscard]] bool Ambiguous(std::uint64_t sector) const { return at(sector).size() > 1; }
  [[nodiscard]] std::uint64_t sectors() const { return sectors_.size(); }
  [[nodiscard]] std::uint32_t last_number() const { return last_number_; }

 private:
  struct Entry {
    std::uint32_t value;
    std::uint32_t number;     // operation that put it here
    std::uint64_t acked = 0;  // event count at acknowledgement; 0: not acknowledged
    bool certain = true;      // false: a discard's edge, the older value may stay
  };
  using Entries = std::vector<Entry>;

  [[nodiscard]] const Entries& at(std::uint64_t sector) const { return sectors_.at(sector); }
  void Begin(const Record& record);
  void End(const Record& record, bool failed);
  void FlushDone(std::uint64_t started);
  /// Drops what is older than the newest certain entry acknowledged by `by`.
  static void Settle(Entries& entries, std::uint64_t by);

  std::vector<Entries> sectors_;
  std::unordered_map<std::uint32_t, Record> open_;            // operations in flight
  std::unordered_map<std::uint32_t, std::uint64_t> flushes_;  // number -> event count at start
  std::vector<std::uint64_t> dirty_;  // sectors with more than one entry (may repeat)
  std::uint32_t block_sectors_;
  Durable durable_;
  std::uint64_t events_ = 1;
  std::uint32_t last_number_ = 0;
};

}  // namespace shadow::io
