// SPDX-License-Identifier: Apache-2.0
// See streams.h.
#include "pam/place/streams.h"

#include <algorithm>

namespace shadow::pam::internal {
namespace {

constexpr double kKeep = 0.995;  // per visit
constexpr double kPrior = 1;     // visits that brought nothing, before any was seen

}  // namespace

Streams::Streams(std::vector<std::uint32_t> right, double move_ms)
    : blocks_(right.size()), move_minutes_(move_ms / 60'000) {
  for (std::uint32_t b = 0; b < right.size(); ++b) {
    blocks_[b].right = right[b];
    if (right[b] != kNone) blocks_[right[b]].left = b;
  }
}

std::size_t Streams::Class(int length) {
  constexpr int kUpTo[kClasses] = {0, 1, 2, 4, 8, 16, 1 << 30};
  return static_cast<std::size_t>(std::lower_bound(kUpTo, kUpTo + kClasses, length) - kUpTo);
}

void Streams::Access(std::uint32_t block, double minute) {
  Block& b = blocks_[block];
  began_ = b.last < 0 || minute - b.last > kGapMinutes;
  if (began_) {
    const Block* left = b.left == kNone ? nullptr : &blocks_[b.left];
    const bool follows = left != nullptr && left->last >= 0 && minute - left->last <= kGapMinutes;
    b.length = follows ? left->length + 1 : 0;
    b.start = minute;
    const std::size_t c = Class(b.length);
    visits_[c] = visits_[c] * kKeep + 1;
    for (auto& ahead : accesses_) ahead[c] *= kKeep;
  }
  b.last = minute;
  // The heads the stream had when this block lay 0, 1, ... places ahead.
  std::uint32_t head = block;
  for (int ahead = 0; ahead <= std::min(kAhead, b.length) && head != kNone; ++ahead) {
    const Block& h = blocks_[head];
    if (h.length != b.length - ahead || h.start > b.start) break;
    if (minute - h.start > move_minutes_) {
      accesses_[static_cast<std::size_t>(ahead)][Class(h.length)] += 1;
    }
    head = h.left;
  }
}

double Streams::Expected(int ahead, int length) const {
  const std::size_t c = Class(length);
  return accesses_[static_cast<std::size_t>(ahead)][c] / (visits_[c] + kPrior);
}

bool Streams::Passed(std::uint32_t block, double moved, double minute) const {
  const Block& b = blocks_[block];
  if (minute - std::max(b.last, moved) > kGapMinutes) return true;
  if (b.start < moved - kGapMinutes || b.last >= minute || b.right == kNone) return false;
  return blocks_[b.right].start >= b.start;
}

}  // namespace shadow::pam::internal
