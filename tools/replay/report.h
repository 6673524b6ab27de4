// SPDX-License-Identifier: Apache-2.0
// What a replay found, for people and as JSON (all times in microseconds).
#pragma once

#include <string>

#include "tools/replay/counters.h"
#include "tools/replay/player.h"

namespace shadow::replay {

struct ReportInput {
  std::string trace, device;
  double speed = 1;
  std::uint32_t depth = 0;
  const Plan* plan = nullptr;
  const Difference* counters = nullptr;
};

/// Sorts the latencies of `outcome`.
[[nodiscard]] std::string TableReport(const ReportInput& input, Outcome* outcome);
[[nodiscard]] std::string JsonReport(const ReportInput& input, Outcome* outcome);

}  // namespace shadow::replay
