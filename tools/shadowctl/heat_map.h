// SPDX-License-Identifier: Apache-2.0
// A volume's heat, drawn: a character for each range, shaded by its warmest block. Pure: what is
// drawn depends on the arguments only.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "proto/shadow/v1/placement.pb.h"
#include "tools/shadowctl/terminal.h"

namespace shadow::ctl {

/// What GetHeatMap answered, its pieces put together.
struct HeatMap {
  std::uint64_t volume_blocks = 0, block_bytes = 0;
  std::vector<v1::HeatRun> runs;
};

/// Ranges in a row of a terminal of `width` columns: 16, 32, 64, 96, ...
[[nodiscard]] std::uint32_t RangesInARow(int width);

/// The heat of the warmest block in each of `ranges` equal ranges (at most a block each).
[[nodiscard]] std::vector<double> Cells(const HeatMap& map, std::uint32_t ranges);

/// Draws `map` in `ranges` ranges, with a legend, in at most `width` columns.
void PrintHeatMap(std::ostream& out, const Terminal& terminal, const std::string& volume,
                  const HeatMap& map, std::uint32_t ranges, int width);

}  // namespace shadow::ctl
