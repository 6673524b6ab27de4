// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/io/model.h"

#include <algorithm>

namespace shadow::io {

std::uint32_t RecordCheck(const Record& record) {
  std::uint64_t mix = static_cast<std::uint64_t>(record.kind) << 8 | record.fua;
  for (const std::uint64_t part :
       {std::uint64_t{record.count}, record.sector, std::uint64_t{record.number}}) {
    mix = (mix ^ part) * 0x9E3779B97F4A7C15u;
    mix ^= mix >> 29;
  }
  return static_cast<std::uint32_t>(mix) | 1u;
}

Model::Model(std::uint64_t sectors, std::uint32_t block_sectors, Durable durable)
    : sectors_(sectors, Entries{Entry{.value = 0, .number = 0, .acked = 1}}),
      block_sectors_(block_sectors),
      durable_(durable) {}

void Model::Apply(const Record& record) {
  ++events_;
  last_number_ = std::max(last_number_, record.number);
  switch (record.kind) {
    case Kind::kWrite:
    case Kind::kZero:
    case Kind::kDiscard:
      Begin(record);
      break;
    case Kind::kAck:
    case Kind::kFail:
      End(record, record.kind == Kind::kFail);
      break;
    case Kind::kFlushStart:
      flushes_[record.number] = events_;
      break;
    case Kind::kFlushDone:
      if (const auto flush = flushes_.find(record.number); flush != flushes_.end()) {
        FlushDone(flush->second);
        flushes_.erase(flush);
      }
      break;
    case Kind::kSeen:
      for (std::uint64_t s = record.sector; s < record.sector + record.count; ++s) {
        sectors_.at(s) = {Entry{.value = record.number, .number = record.number, .acked = events_}};
      }
      break;
  }
}

void Model::Begin(const Record& record) {
  open_[record.number] = record;
  const std::uint64_t end = record.sector + record.count;
  std::uint64_t whole_first = record.sector;
  std::uint64_t whole_end = end;
  if (record.kind == Kind::kDiscard) {
    whole_first = whole_end = 0;
    if (block_sectors_ != 0) {
      whole_first = (record.sector + block_sectors_ - 1) / block_sectors_ * block_sectors_;
      whole_end = end / block_sectors_ * block_sectors_;
    }
  }
  const std::uint32_t value = record.kind == Kind::kWrite ? record.number : 0;
  for (std::uint64_t s = record.sector; s < end; ++s) {
    const bool certain = s >= whole_first && s < whole_end;
    Entries& entries = sectors_.at(s);
    if (entries.size() == 1) dirty_.push_back(s);
    entries.push_back(Entry{.value = value, .number = record.number, .certain = certain});
  }
}

void Model::End(const Record& record, bool failed) {
  const auto open = open_.find(record.number);
  if (open == open_.end()) return;
  const Record op = open->second;
  open_.erase(open);
  if (failed) return;
  for (std::uint64_t s = op.sector; s < op.sector + op.count; ++s) {
    Entries& entries = sectors_.at(s);
    for (Entry& entry : entries) {
      if (entry.number == op.number) entry.acked = events_;
    }
    if (durable_ == Durable::kAck || op.fua != 0) Settle(entries, events_);
  }
}

void Model::FlushDone(std::uint64_t started) {
  if (durable_ == Durable::kAck) {
    dirty_.clear();
    return;
  }
  std::vector<std::uint64_t> still;
  for (const std::uint64_t s : dirty_) {
    Settle(sectors_.at(s), started);
    if (sectors_.at(s).size() > 1) still.push_back(s);
  }
  dirty_ = std::move(still);
}

void Model::Settle(Entries& entries, std::uint64_t by) {
  for (std::size_t i = entries.size(); i-- > 1;) {
    if (entries[i].certain && entries[i].acked != 0 && entries[i].acked <= by) {
      entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }
  // Discards repeated at the same edge: one zero is enough, or the list would grow for ever.
  if (entries.size() > 8) {
    std::vector<std::uint32_t> seen;
    std::erase_if(entries, [&seen](const Entry& entry) {
      const bool again = std::find(seen.begin(), seen.end(), entry.value) != seen.end();
      seen.push_back(entry.value);
      return again && entry.value == 0 && entry.acked != 0 && !entry.certain;
    });
  }
}

bool Model::Allows(std::uint64_t sector, std::uint32_t value) const {
  const Entries& entries = at(sector);
  return std::any_of(entries.begin(), entries.end(),
                     [value](const Entry& entry) { return entry.value == value; });
}

std::string Model::Describe(std::uint64_t sector) const {
  std::string text;
  for (const Entry& entry : at(sector)) {
    if (!text.empty()) text += " or ";
    text += entry.value == 0 ? "zeroes" : "write " + std::to_string(entry.value);
  }
  return text;
}

}  // namespace shadow::io
