// SPDX-License-Identifier: Apache-2.0
#include "daemon/trace/access_counter.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

namespace shadow {
namespace {

constexpr std::size_t kFresh = 1u << 16;
constexpr std::uint64_t kMostBlocks = std::numeric_limits<std::uint32_t>::max();

void Append(std::vector<BlockAccess>* to, const BlockAccess& a) {
  if (!to->empty() && to->back().block == a.block) {
    to->back().count += a.count;
    to->back().writes += a.writes;
  } else {
    to->push_back(a);
  }
}

// Both ascend, and so does the answer.
std::vector<BlockAccess> Joined(const std::vector<BlockAccess>& a,
                                const std::vector<BlockAccess>& b) {
  std::vector<BlockAccess> out;
  out.reserve(a.size() + b.size() / 2);
  auto x = a.begin();
  auto y = b.begin();
  while (x != a.end() || y != b.end()) {
    const bool first = y == b.end() || (x != a.end() && x->block <= y->block);
    Append(&out, first ? *x++ : *y++);
  }
  return out;
}

}  // namespace

AccessCounter::AccessCounter(std::uint64_t block_bytes)
    : shift_(static_cast<unsigned>(std::countr_zero(block_bytes))) {}

void AccessCounter::AddRequest(std::uint64_t offset, std::uint64_t length, bool write) {
  const std::uint64_t last = (offset + length - 1) >> shift_;
  for (std::uint64_t b = offset >> shift_; b <= last && b < kMostBlocks; ++b) {
    fresh_.push_back(b << 1 | (write ? 1 : 0));
  }
  // Half of what is counted already: merging then costs each access a constant amount.
  if (fresh_.size() >= std::max(kFresh, counted_.size() / 2)) Merge();
}

void AccessCounter::AddHarvest(const std::vector<AccessRun>& runs) {
  std::vector<BlockAccess> harvest;
  for (const AccessRun& run : runs) {
    const std::uint32_t writes = run.written ? 1 : 0;
    const std::uint32_t count = writes + (run.read ? 1 : 0);
    if (count == 0) continue;
    const std::uint64_t end = std::min(run.range.first + run.range.count, kMostBlocks);
    for (std::uint64_t b = run.range.first; b < end; ++b) {
      Append(&harvest, {static_cast<std::uint32_t>(b), count, writes});
    }
  }
  counted_ = counted_.empty() ? std::move(harvest) : Joined(counted_, harvest);
}

void AccessCounter::Merge() {
  std::sort(fresh_.begin(), fresh_.end());
  std::vector<BlockAccess> sorted;
  for (const std::uint64_t key : fresh_) {
    Append(&sorted, {static_cast<std::uint32_t>(key >> 1), 1, static_cast<std::uint32_t>(key & 1)});
  }
  fresh_.clear();
  counted_ = counted_.empty() ? std::move(sorted) : Joined(counted_, sorted);
}

std::vector<BlockAccess> AccessCounter::Take() {
  Merge();
  return std::exchange(counted_, {});
}

void AccessCounter::Clear() {
  fresh_.clear();
  counted_.clear();
}

}  // namespace shadow
