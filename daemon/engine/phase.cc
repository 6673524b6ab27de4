// SPDX-License-Identifier: Apache-2.0
// Names of the phases that engine.h declares.
#include <array>

#include "daemon/engine/engine.h"

namespace shadow {

const char* PhaseName(Phase phase) {
  static constexpr std::array<const char*, 13> kNames = {
      "PLANNED",      "PREPARING", "COPYING",         "PAUSED",    "CATCHING_UP",
      "CUTTING_OVER", "GRACE",     "DECOMMISSIONING", "COMPLETED", "ABORTING",
      "ROLLING_BACK", "ABORTED",   "FAILED"};
  const auto i = static_cast<std::size_t>(phase);
  return i < kNames.size() ? kNames.at(i) : "UNKNOWN";
}

bool IsFinal(Phase phase) {
  return phase == Phase::kCompleted || phase == Phase::kAborted || phase == Phase::kFailed;
}

}  // namespace shadow
