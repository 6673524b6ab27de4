// SPDX-License-Identifier: Apache-2.0
// How far a figure of a test part may be trusted: what it would be on other windows like these.
//
// Pure functions of their input and a seed; one thread. Moving-block bootstrap (Kuensch 1989):
// runs of consecutive windows are drawn with replacement until there are as many windows as there
// were, and the figure is computed again. Runs, because neighbouring windows are alike and longer
// horizons overlap. It knows only what the test part showed: a change of the load that happened
// once in it is drawn about once.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace shadow::pam {

/// The middle 95 % of the draws; low == high == 0 if there was nothing to draw from.
struct Interval {
  double low = 0, high = 0;
};

/// Says what the figure is for these windows (indices below `windows`, some of them several times).
using Statistic = std::function<double(const std::vector<std::uint32_t>& picked)>;

/// windows: of the test part. span: windows of the horizon; a run is at least that long, and at
/// least the square root of `windows`. draws: 1,000 settle the ends to some hundredths of the
/// width.
Interval Bootstrap(std::uint32_t windows, std::uint32_t span, std::uint64_t seed,
                   const Statistic& statistic, int draws = 1000);

}  // namespace shadow::pam
