// SPDX-License-Identifier: Apache-2.0
// See bootstrap.h.
#include "pam/eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace shadow::pam {

Interval Bootstrap(std::uint32_t windows, std::uint32_t span, std::uint64_t seed,
                   const Statistic& statistic, int draws) {
  if (windows == 0 || draws <= 0) return {};
  const auto root = static_cast<std::uint32_t>(std::ceil(std::sqrt(windows)));
  const std::uint32_t run = std::min(windows, std::max({1U, span, root}));
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<std::uint32_t> start(0, windows - run);
  std::vector<double> values;
  std::vector<std::uint32_t> picked(windows);
  for (int k = 0; k < draws; ++k) {
    for (std::uint32_t i = 0; i < windows;) {
      const std::uint32_t from = start(random);
      for (std::uint32_t j = 0; j < run && i < windows; ++j) picked[i++] = from + j;
    }
    values.push_back(statistic(picked));
  }
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(
        std::lround(share * static_cast<double>(values.size() - 1)))];
  };
  return {at(0.025), at(0.975)};
}

}  // namespace shadow::pam
