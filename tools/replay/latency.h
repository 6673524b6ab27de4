// SPDX-License-Identifier: Apache-2.0
// Latencies of a replay, kept one by one, so that percentiles are exact.
#pragma once

#include <cstdint>
#include <vector>

namespace shadow::replay {

struct Summary {
  std::uint64_t count = 0;
  double mean_ns = 0;
  std::uint64_t p50_ns = 0, p95_ns = 0, p99_ns = 0, max_ns = 0;  // 0 if there are none
};

/// The value at or below which `fraction` (0..1) of the ascending `sorted` lie (nearest rank); 0 if
/// there is none.
[[nodiscard]] std::uint64_t Percentile(const std::vector<std::uint64_t>& sorted, double fraction);
/// Sorts `values`.
[[nodiscard]] Summary Summarise(std::vector<std::uint64_t>* values);

}  // namespace shadow::replay
