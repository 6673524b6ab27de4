// SPDX-License-Identifier: Apache-2.0
// Tiers as the engine's callers see them: requests, and what is told of tiers, heat and placement.
//
// Plain data. Sizes are bytes, times milliseconds, heat a probability of 0..1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/dm/blocks.h"

namespace shadow {

struct AddTierRequest {
  std::string volume;
  TierLevel level = TierLevel::kTier1;
  std::string to;                // storage class, or path of a device (used as a whole)
  std::uint64_t size_bytes = 0;  // rounded up to whole blocks; a device: 0 or at most its size
  bool write_back = false;
  std::string request_id;
  std::string overwrite;        // what may be written over there: "ext4", "gpt,LVM2_member"
  bool unstable_names = false;  // a device with nothing but a name will do
};

struct RemoveTierRequest {
  std::string volume;
  TierLevel level = TierLevel::kTier1;
  bool forget = false;  // drop its shadows instead of writing them home: for a dead device
  bool lost = false;    // with forget: although the newest data of dirty blocks go with them
  std::string request_id;
};

/// Who decides what lies on the tiers of a volume, and how fast.
struct TierPolicy {
  std::string policy = "pam";               // "pam", "ewma", "lru", "off"
  std::uint32_t tier1_heat_permille = 700;  // belongs on tier 1 from this heat on
  std::uint32_t tier2_heat_permille = 300;  // likewise tier 2; below: on home
  std::uint64_t budget_bytes_per_minute = std::uint64_t{1} << 30;
  std::int64_t window_ms = 60'000;
  std::uint8_t impact = 1;  // of moves: 0 low, 1 balanced, 2 full
  friend bool operator==(const TierPolicy&, const TierPolicy&) = default;
};

struct TierInfo {
  TierLevel level = TierLevel::kTier1;
  std::string state;   // "adding", "active", "removing"
  std::string health;  // "ok", "missing", "failed"; "" when the kernel does not have it
  std::string device, storage_class;
  std::uint64_t size_bytes = 0, used_bytes = 0, dirty_bytes = 0;
  bool write_back = false;
  std::uint64_t reads = 0, writes = 0;  // sent to shadows since the volume's first resume
};

/// The placement loop of a volume, as it is now.
struct PlacementInfo {
  TierPolicy policy;
  std::string ruling;              // who ranks now; "" before the first window
  std::string source;              // "blktrace", "access"; "" while neither works
  std::vector<std::string> notes;  // sentences: every fall-back that is in effect
  std::uint64_t windows = 0, lost = 0, known_blocks = 0, state_bytes = 0;
  std::uint64_t budget_left_bytes = 0, moved_bytes = 0, served_bytes = 0;
  std::uint64_t queued_blocks = 0;
  std::int64_t round_us = 0;  // the last round took so long
  std::uint64_t promoted = 0, demoted = 0, written_back = 0, failures = 0;  // blocks; failures: I/O
};

struct TiersInfo {
  std::vector<TierInfo> tiers;  // fastest first
  PlacementInfo placement;
};

struct HeatCell {
  BlockRange range;
  float warmest = 0, mean = 0;  // of the blocks of the range
};

/// Why a block is where it is. Milliseconds are those of docs/placement.md.
struct BlockExplanation {
  std::uint64_t block = 0;
  std::string place, belongs, best;  // "home", "tier1", "tier2"
  bool dirty = false, busy = false;
  double heat = 0, accesses = 0, writes = 0;
  double benefit_ms = 0, cost_ms = 0, margin = 0;
  double transfer_ms = 0, interference_ms = 0, wear_ms = 0;
  double writeback_ms = 0;                        // of its own, and of what it pushes out
  double tier1_saves_ms = 0, tier2_saves_ms = 0;  // against home
  double victim_saves_ms = 0;                     // by what it would push out
  std::string decision;  // "stay", "promote", "demote", "writeback", "wait"
  std::string why;       // one sentence
};

/// One line of `shadowctl top`: what a volume did since the last look.
struct VolumeTop {
  std::string name;
  std::int64_t interval_ms = 0;
  std::uint64_t reads_per_s = 0, writes_per_s = 0, bytes_per_s = 0;
  std::uint64_t p50_us = 0, p99_us = 0;   // 0: no I/O
  double hit_ratio1 = 0, hit_ratio2 = 0;  // reads answered by shadows, 0..1
  std::uint64_t moved_bytes_per_s = 0;    // to and from tiers
  std::string modification_id;
};

}  // namespace shadow
