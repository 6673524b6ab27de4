// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/log.h"

#include <array>
#include <cstring>
#include <fstream>

namespace shadow::crash {
namespace {

constexpr std::uint64_t kMagic = 0x6a736677736872;
constexpr std::size_t kSector = 512;
enum Flag : std::uint64_t { kFlagFlush = 1, kFlagFua = 2, kFlagDiscard = 4, kFlagMark = 8 };

std::uint64_t Word(const std::uint8_t* sector, unsigned index) {
  std::uint64_t value = 0;
  std::memcpy(&value, sector + std::size_t{8} * index, sizeof(value));
  return value;
}

}  // namespace

Result<Log> LoadLog(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<std::uint8_t, kSector> head{};
  const auto next = [&] {
    return static_cast<bool>(file.read(reinterpret_cast<char*>(head.data()), kSector));
  };
  if (!next()) return MakeError(Code::kIoError, "cannot read the log " + path);
  if (Word(head.data(), 0) != kMagic || Word(head.data(), 1) != 1 ||
      static_cast<std::uint32_t>(Word(head.data(), 3)) != kSector) {
    return MakeError(Code::kDataLoss, path + " is no log of dm-log-writes with 512-byte sectors");
  }
  Log log;
  const std::uint64_t count = Word(head.data(), 2);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!next()) return MakeError(Code::kDataLoss, "the log " + path + " ends too early");
    const std::uint64_t flags = Word(head.data(), 2);
    Entry entry{.kind = Entry::Kind::kWrite,
                .fua = (flags & kFlagFua) != 0,
                .sector = Word(head.data(), 0),
                .count = Word(head.data(), 1)};
    if ((flags & kFlagMark) != 0) {
      entry.kind = Entry::Kind::kMark;
      const std::uint64_t length = std::min<std::uint64_t>(Word(head.data(), 3), kSector - 32);
      entry.mark.assign(reinterpret_cast<const char*>(head.data()) + 32, length);
    } else if ((flags & kFlagDiscard) != 0) {
      entry.kind = Entry::Kind::kDiscard;
    } else if ((flags & kFlagFlush) != 0) {
      entry.kind = Entry::Kind::kFlush;
      // dm splits a flush with data in two before it gets here.
      if (entry.count != 0) return MakeError(Code::kDataLoss, "a flush with data in the log");
    } else {
      entry.data = log.bytes.size();
      log.bytes.resize(entry.data + entry.count * kSector);
      if (!file.read(reinterpret_cast<char*>(log.bytes.data() + entry.data),
                     static_cast<std::streamsize>(entry.count * kSector))) {
        return MakeError(Code::kDataLoss, "the log " + path + " ends too early");
      }
    }
    log.entries.push_back(std::move(entry));
  }
  if (log.entries.empty() || log.entries.back().mark != "dm-log-writes-end") {
    return MakeError(Code::kDataLoss, "the log " + path + " was not closed",
                     "the log device was too small, or is still in use");
  }
  return log;
}

std::optional<io::Record> RecordOfMark(const std::string& mark) {
  io::Record record{};
  if (mark.size() != 2 * sizeof(record)) return std::nullopt;
  std::array<std::uint8_t, sizeof(record)> raw{};
  for (std::size_t i = 0; i < raw.size(); ++i) {
    unsigned byte = 0;
    if (std::sscanf(mark.c_str() + 2 * i, "%2x", &byte) != 1) return std::nullopt;
    raw[i] = static_cast<std::uint8_t>(byte);
  }
  std::memcpy(&record, raw.data(), sizeof(record));
  if (record.check != io::RecordCheck(record)) return std::nullopt;
  return record;
}

}  // namespace shadow::crash
