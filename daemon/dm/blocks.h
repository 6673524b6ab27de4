// SPDX-License-Identifier: Apache-2.0
// Ranges of blocks and the states a block can be in: the daemon's view of docs/dm-shadow.rst.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace shadow {

inline constexpr std::uint64_t kSectorBytes = 512;

/// `count` blocks from `first` on.
struct BlockRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  friend bool operator==(const BlockRange&, const BlockRange&) = default;
};

enum class BlockState : std::uint8_t {
  kOrigin,
  kCopying,
  kMirrored,
  kRetiring,
  kTarget,
  kRemirroring,
  kHole,
  kFilling,
};
inline constexpr int kBlockStates = 8;

/// Neighbouring blocks in one state.
struct StateRun {
  BlockRange range;
  BlockState state = BlockState::kOrigin;
};

/// Neighbouring blocks that were accessed in the same way.
struct AccessRun {
  BlockRange range;
  bool read = false;
  bool written = false;
};

/// A fast leg that holds shadows.
enum class TierLevel : std::uint8_t { kTier1, kTier2 };
inline constexpr int kTiers = 2;
inline constexpr std::array<TierLevel, kTiers> kTierLevels = {TierLevel::kTier1, TierLevel::kTier2};
/// Its place in arrays of all tiers.
constexpr std::size_t IndexOf(TierLevel tier) { return static_cast<std::size_t>(tier); }

/// What is known of a block's shadow: see "Tiers" in the document.
enum class ShadowState : std::uint8_t { kClean, kDirty, kPromoting, kCleaning, kDropping };
inline constexpr int kShadowStates = 5;

/// Neighbouring blocks with shadows on one tier, in one state.
struct TierRun {
  BlockRange range;
  TierLevel tier = TierLevel::kTier1;
  ShadowState state = ShadowState::kClean;
  friend bool operator==(const TierRun&, const TierRun&) = default;
};

/// Number of blocks of `ranges`.
inline std::uint64_t CountBlocks(const std::vector<BlockRange>& ranges) {
  std::uint64_t sum = 0;
  for (const BlockRange& r : ranges) sum += r.count;
  return sum;
}

/// Adds `count` blocks from `first` on (none: nothing), joined to the last range if they follow it.
inline void AppendRange(std::uint64_t first, std::uint64_t count, std::vector<BlockRange>* to) {
  if (count == 0) return;
  if (!to->empty() && to->back().first + to->back().count == first) {
    to->back().count += count;
  } else {
    to->push_back({first, count});
  }
}

}  // namespace shadow
