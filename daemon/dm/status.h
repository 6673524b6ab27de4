// SPDX-License-Identifier: Apache-2.0
// What the shadow target answers: its status line and the answers to "map", "access" and
// "tiers".
//
// Pure parsers. The text comes from the kernel, but is treated as hostile all the same: a number
// out of range, a missing field or an unknown word gives kDataLoss, never a guess. Keys of a later
// version that we do not know are skipped.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/dm/blocks.h"
#include "daemon/engine/engine.h"

namespace shadow {

struct TargetStatus {
  KernelStatus kernel;
  std::uint64_t old_sectors = 0;  // 0 in "steady"
  std::uint64_t queue = 0;        // blocks, an upper bound
  std::uint64_t inflight_kib = 0;
  std::uint64_t rate_kib = 0;  // 0: no limit
  std::uint64_t inflight_limit_kib = 0;
  std::uint64_t dirty_regions = 0;
  std::uint64_t commits = 0, generation = 0, memory_bytes = 0;
  std::uint64_t filled = 0;      // blocks
  std::uint64_t tier_queue = 0;  // blocks, an upper bound
  std::uint64_t tier_inflight_kib = 0;
  std::uint64_t tier_rate_kib = 0;  // 0: no limit
  std::uint64_t tier_inflight_limit_kib = 0;
  bool paused = false;
  std::string read_policy;

  /// Blocks whose only copy is on the origin, or that are on the way to it or from it.
  [[nodiscard]] std::uint64_t NotOnTarget() const {
    return kernel.origin + kernel.copying + kernel.filling;
  }
  /// Nothing queued, nothing in flight.
  [[nodiscard]] bool MoverIdle() const {
    return queue == 0 && inflight_kib == 0 && kernel.copying == 0 && kernel.remirroring == 0 &&
           kernel.filling == 0 && kernel.retiring == 0;
  }
};

/// Nothing queued for a tier, nothing on the way to or from one.
[[nodiscard]] inline bool TiersIdle(const TargetStatus& s) {
  return s.tier_queue == 0 && s.tier_inflight_kib == 0;
}

/// Parses "<mode> <phase> <blocks> <block sectors> [key=value]...".
[[nodiscard]] Result<TargetStatus> ParseStatus(std::string_view line);

struct MapAnswer {
  std::vector<StateRun> runs;
  std::optional<std::uint64_t> next;  // go on asking from here
};
[[nodiscard]] Result<MapAnswer> ParseMap(std::string_view answer);

struct AccessAnswer {
  std::vector<AccessRun> runs;
  std::optional<std::uint64_t> next;
};
[[nodiscard]] Result<AccessAnswer> ParseAccess(std::string_view answer);

struct TiersAnswer {
  std::vector<TierRun> runs;
  std::optional<std::uint64_t> next;
};
[[nodiscard]] Result<TiersAnswer> ParseTiers(std::string_view answer);

/// "clean", "dirty", ... as in docs/dm-shadow.rst.
[[nodiscard]] const char* ShadowStateName(ShadowState state);

/// "origin", "mirrored", ... as in docs/dm-shadow.rst.
[[nodiscard]] const char* BlockStateName(BlockState state);
[[nodiscard]] std::optional<BlockState> ParseBlockState(std::string_view name);

/// "<verb> 5 7+2 ..." messages that name all `ranges`, at most `per_message` in each.
[[nodiscard]] std::vector<std::string> RangeMessages(std::string_view verb,
                                                     const std::vector<BlockRange>& ranges,
                                                     std::size_t per_message = 64);

}  // namespace shadow
