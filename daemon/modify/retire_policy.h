// SPDX-License-Identifier: Apache-2.0
// Which mirrored blocks give up their copy on the origin, and when.
//
// never: none, everything stays reversible at no cost. eager: all, at once. cold: those that were
// not accessed for several windows in a row, and that, where somebody knows the heat, were below
// the threshold in all of them. Fed with access answers and window ends, asked with the map; one
// copier owns it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/dm/blocks.h"
#include "daemon/engine/engine.h"
#include "daemon/modify/copy_order.h"

namespace shadow {

class RetirePolicy {
 public:
  static constexpr std::int64_t kWindowMs = 60'000;
  static constexpr std::uint8_t kColdWindows = 3;

  static constexpr float kColdHeat = 0.3F;  // below: cold, as in placement

  /// With `heat` its accesses decide, too, and the kernel is not asked for them: each answer of
  /// `access` goes to one listener. Null: OnAccess() alone.
  RetirePolicy(Retire policy, std::uint64_t blocks, std::shared_ptr<const HeatSource> heat = {});

  /// Must the access bits be asked for at all?
  [[nodiscard]] bool WantsAccess() const { return policy_ == Retire::kCold && !heat_; }
  void OnAccess(const std::vector<AccessRun>& runs);
  void OnWindowEnd();
  /// The mirrored blocks of `map` to retire now.
  [[nodiscard]] std::vector<BlockRange> Choose(const std::vector<StateRun>& map) const;

 private:
  Retire policy_;
  std::shared_ptr<const HeatSource> heat_;
  std::vector<std::uint8_t> idle_windows_;  // one byte a block, only for kCold
};

}  // namespace shadow
