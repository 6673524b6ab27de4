// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/latency.h"

#include <cmath>

#include "daemon/dm/blocks.h"
#include "daemon/dm/table.h"

namespace shadow {
namespace {

constexpr double kFirstBoundNs = 5'000;
constexpr double kLastBoundNs = 20e9;
constexpr double kSteps = 6;  // buckets to a doubling: 12 % apart
constexpr std::size_t kCounters = 13;
constexpr std::uint64_t kNsPerUs = 1000;

Error Unreadable(std::string_view text) {
  return MakeError(Code::kDataLoss, "The device-mapper statistics cannot be understood: '" +
                                        std::string(text.substr(0, 120)) + "'.");
}

}  // namespace

const std::vector<std::uint64_t>& BucketBoundsNs() {
  static const std::vector<std::uint64_t> bounds = [] {
    std::vector<std::uint64_t> b;
    for (int i = 0;; ++i) {
      const double ns = kFirstBoundNs * std::exp2(i / kSteps);
      if (ns > kLastBoundNs) return b;
      b.push_back(static_cast<std::uint64_t>(ns));
    }
  }();
  return bounds;
}

std::string StatsCreateMessage(const std::string& owner) {
  std::string message = "@stats_create - /1 2 precise_timestamps histogram:";
  bool first = true;
  for (std::uint64_t bound : BucketBoundsNs()) {
    if (!first) message += ",";
    first = false;
    message += std::to_string(bound);
  }
  return message + " " + owner;
}

Result<std::uint64_t> ParseRegionId(std::string_view answer) {
  const auto words = SplitWords(answer);
  const auto id = words.size() == 1 ? ParseNumber(words[0]) : std::nullopt;
  if (!id) return Unreadable(answer);
  return *id;
}

std::uint64_t PercentileNs(const std::vector<std::uint64_t>& counts, double fraction) {
  const std::vector<std::uint64_t>& bounds = BucketBoundsNs();
  double total = 0;
  for (std::uint64_t c : counts) total += static_cast<double>(c);
  if (total == 0) return 0;
  const double wanted = total * fraction;
  double seen = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto here = static_cast<double>(counts[i]);
    if (here > 0 && seen + here >= wanted) {
      const double low =
          i == 0 ? 0 : static_cast<double>(bounds.at(std::min(i, bounds.size()) - 1));
      if (i >= bounds.size()) return bounds.back();
      const auto high = static_cast<double>(bounds[i]);
      return static_cast<std::uint64_t>(low + (high - low) * (wanted - seen) / here);
    }
    seen += here;
  }
  return bounds.back();
}

namespace {

// One area of a region: its counters in the kernel's order, and its histogram.
struct Area {
  std::vector<std::uint64_t> counters;
  std::vector<std::uint64_t> counts;
};

Result<Area> ParseArea(std::string_view answer) {
  const auto words = SplitWords(answer);
  // "<start>+<length>", 13 counters, the histogram.
  if (words.size() != 1 + kCounters + 1) return Unreadable(answer);
  Area area;
  for (std::size_t i = 1; i <= kCounters; ++i) {
    const auto n = ParseNumber(words[i]);
    if (!n) return Unreadable(answer);
    area.counters.push_back(*n);
  }
  std::string_view rest = words.back();
  while (true) {
    const std::size_t colon = rest.find(':');
    const auto n = ParseNumber(rest.substr(0, colon));
    if (!n) return Unreadable(answer);
    area.counts.push_back(*n);
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (area.counts.size() != BucketBoundsNs().size() + 1) return Unreadable(answer);
  return area;
}

}  // namespace

Result<LatencyWindow> ParseStats(std::string_view answer) {
  SHADOW_ASSIGN(Area area, ParseArea(answer));
  LatencyWindow window;
  window.reads = area.counters[0];
  window.ios = area.counters[0] + area.counters[4];
  window.bytes = (area.counters[2] + area.counters[6]) * kSectorBytes;
  window.p50_us = PercentileNs(area.counts, 0.50) / kNsPerUs;
  window.p99_us = PercentileNs(area.counts, 0.99) / kNsPerUs;
  window.counts = std::move(area.counts);
  return window;
}

Result<AppTotals> ParseTotals(std::string_view answer) {
  SHADOW_ASSIGN(Area area, ParseArea(answer));
  AppTotals totals;
  totals.reads = area.counters[0];
  totals.writes = area.counters[4];
  totals.read_bytes = area.counters[2] * kSectorBytes;
  totals.written_bytes = area.counters[6] * kSectorBytes;
  // With precise_timestamps the times are in nanoseconds.
  totals.read_ns = area.counters[3];
  totals.write_ns = area.counters[7];
  totals.counts = std::move(area.counts);
  return totals;
}

}  // namespace shadow
