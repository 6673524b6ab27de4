// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/heat_map.h"

#include <algorithm>

#include "daemon/base/sizes.h"
#include "tools/shadowctl/humanize.h"

namespace shadow::ctl {
namespace {

constexpr int kLabel = 10;  // "1.50 GiB  "
constexpr std::uint32_t kUnit = 16;

struct Shade {
  double from;  // heat
  const char* utf8;
  const char* ascii;
  Colour colour;
  const char* text;
};
// The default thresholds of the tiers are two of the borders.
constexpr Shade kShades[] = {
    {0.7, "█", "#", Colour::kRed, "from 0.7"},  {0.3, "▓", "+", Colour::kYellow, "from 0.3"},
    {0.1, "▒", "-", Colour::kCyan, "from 0.1"}, {0.0005, "░", ":", Colour::kNone, "less"},
    {-1, "·", ".", Colour::kDim, "none"},
};

const Shade& ShadeOf(double heat) {
  for (const Shade& shade : kShades) {
    if (heat >= shade.from) return shade;
  }
  return kShades[std::size(kShades) - 1];
}

const char* Mark(const Shade& shade, const Terminal& terminal) {
  return terminal.utf8 ? shade.utf8 : shade.ascii;
}

/// A row; neighbours of one shade are painted together.
std::string Row(const std::vector<double>& cells, std::size_t first, std::size_t end,
                const Terminal& terminal) {
  std::string out;
  for (std::size_t i = first; i < end;) {
    const Shade& shade = ShadeOf(cells[i]);
    std::string same;
    for (; i < end && &ShadeOf(cells[i]) == &shade; ++i) same += Mark(shade, terminal);
    out += terminal.Paint(shade.colour, same);
  }
  return out;
}

/// First block of range `i` of `n`; exact where i * blocks would overflow.
std::uint64_t Border(std::uint64_t i, std::uint64_t n, std::uint64_t blocks) {
  return blocks / n * i + blocks % n * i / n;
}

}  // namespace

std::uint32_t RangesInARow(int width) {
  const int room = std::max(width - 1 - kLabel, 0);
  const auto units = static_cast<std::uint32_t>(room) / kUnit;
  if (units >= 4) return units / 2 * 2 * kUnit;
  return std::max(units, 1U) * kUnit;
}

std::vector<double> Cells(const HeatMap& map, std::uint32_t ranges) {
  const std::uint64_t n = std::min<std::uint64_t>(ranges, map.volume_blocks);
  std::vector<double> out(n, 0);
  std::size_t run = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::uint64_t first = Border(i, n, map.volume_blocks);
    const std::uint64_t end = Border(i + 1, n, map.volume_blocks);
    const auto end_of = [&](std::size_t r) {
      return map.runs[r].first_block() + map.runs[r].blocks();
    };
    while (run < map.runs.size() && end_of(run) <= first) ++run;
    for (std::size_t r = run; r < map.runs.size() && map.runs[r].first_block() < end; ++r) {
      out[i] = std::max(out[i], map.runs[r].warmest());
    }
  }
  return out;
}

void PrintHeatMap(std::ostream& out, const Terminal& terminal, const std::string& volume,
                  const HeatMap& map, std::uint32_t ranges, int width) {
  const std::vector<double> cells = Cells(map, ranges);
  const std::uint64_t n = std::max<std::uint64_t>(cells.size(), 1);
  const double range_bytes = static_cast<double>(map.volume_blocks) *
                             static_cast<double>(map.block_bytes) / static_cast<double>(n);
  const std::string title = "Heat of " + volume;
  out << terminal.Paint(Colour::kBold, title) << ", "
      << FormatSize(map.volume_blocks * map.block_bytes) << " in " << FormatCount(cells.size())
      << " ranges of " << FormatSize(static_cast<std::uint64_t>(range_bytes)) << '\n';
  const std::size_t row = RangesInARow(width);
  for (std::size_t i = 0; i < cells.size(); i += row) {
    std::string label = FormatSize(Border(i, n, map.volume_blocks) * map.block_bytes);
    label.insert(0, static_cast<std::size_t>(std::max(0, kLabel - 1 - Columns(label))), ' ');
    out << terminal.Paint(Colour::kDim, label) << ' '
        << Row(cells, i, std::min(i + row, cells.size()), terminal) << '\n';
  }
  std::string legend;
  for (const Shade& shade : kShades) {
    legend += (legend.empty() ? "" : "  ") + terminal.Paint(shade.colour, Mark(shade, terminal)) +
              ' ' + shade.text;
  }
  out << "By the warmest block: " << legend << '\n';
  double expected = 0;  // blocks
  for (const v1::HeatRun& run : map.runs)
    expected += run.mean() * static_cast<double>(run.blocks());
  const double share =
      map.volume_blocks == 0 ? 0 : expected / static_cast<double>(map.volume_blocks);
  out << "Within 60 windows about "
      << FormatSize(static_cast<std::uint64_t>(expected * static_cast<double>(map.block_bytes)))
      << " (" << FormatRatio(share) << ") should be accessed.\n";
}

}  // namespace shadow::ctl
