// SPDX-License-Identifier: Apache-2.0
// Which mirrored blocks give up their copy on the origin, and when.
//
// never: none, everything stays reversible at no cost. eager: all, at once. cold: those that were
// not accessed for several windows in a row (later: that the access model holds cold). Pure: fed
// with access answers and window ends, asked with the map.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/dm/blocks.h"
#include "daemon/engine/engine.h"

namespace shadow {

class RetirePolicy {
 public:
  static constexpr std::int64_t kWindowMs = 60'000;
  static constexpr std::uint8_t kColdWindows = 3;

  RetirePolicy(Retire policy, std::uint64_t blocks);

  /// Must the access bits be asked for at all?
  [[nodiscard]] bool WantsAccess() const { return policy_ == Retire::kCold; }
  void OnAccess(const std::vector<AccessRun>& runs);
  void OnWindowEnd();
  /// The mirrored blocks of `map` to retire now.
  [[nodiscard]] std::vector<BlockRange> Choose(const std::vector<StateRun>& map) const;

 private:
  Retire policy_;
  std::vector<std::uint8_t> idle_windows_;  // one byte a block, only for kCold
};

}  // namespace shadow
