// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/latency.h"

#include <algorithm>
#include <cmath>

namespace shadow::replay {

std::uint64_t Percentile(const std::vector<std::uint64_t>& sorted, double fraction) {
  if (sorted.empty()) return 0;
  const double rank = std::ceil(fraction * static_cast<double>(sorted.size()));
  const auto index = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

Summary Summarise(std::vector<std::uint64_t>* values) {
  std::sort(values->begin(), values->end());
  Summary s;
  s.count = values->size();
  if (values->empty()) return s;
  double sum = 0;
  for (const std::uint64_t v : *values) sum += static_cast<double>(v);
  s.mean_ns = sum / static_cast<double>(values->size());
  s.p50_ns = Percentile(*values, 0.50);
  s.p95_ns = Percentile(*values, 0.95);
  s.p99_ns = Percentile(*values, 0.99);
  s.max_ns = values->back();
  return s;
}

}  // namespace shadow::replay
