// SPDX-License-Identifier: Apache-2.0
// The application's latency, from device-mapper statistics over the whole volume.
//
// dm-stats counts every bio of the application and none of the mover's, with a histogram of
// nanoseconds. Pure functions: the message that makes a region, the parser of what it prints, and
// percentiles. Source: the kernel's Documentation/admin-guide/device-mapper/statistics.rst.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace shadow {

/// One window of application I/O.
struct LatencyWindow {
  std::uint64_t ios = 0;
  std::uint64_t reads = 0;  // among them
  std::uint64_t bytes = 0;
  std::uint64_t p50_us = 0;  // 0 when there was no I/O
  std::uint64_t p99_us = 0;
  std::vector<std::uint64_t> counts;  // I/Os in each bucket of BucketBoundsNs(); may be empty
};

/// All application I/O since the counting began. Only grows.
struct AppTotals {
  std::uint64_t reads = 0, writes = 0;
  std::uint64_t read_bytes = 0, written_bytes = 0;
  std::uint64_t read_ns = 0, write_ns = 0;  // sum of the latencies
  std::vector<std::uint64_t> counts;        // I/Os in each bucket of BucketBoundsNs()
};

/// "@stats_create - /1 2 precise_timestamps histogram:... <owner>". The owner's name tells the
/// regions of one user from those of another.
[[nodiscard]] std::string StatsCreateMessage(const std::string& owner = "shadowd");

/// The region id that @stats_create answered.
[[nodiscard]] Result<std::uint64_t> ParseRegionId(std::string_view answer);

/// Parses what @stats_print_clear answered for a region made by StatsCreateMessage().
[[nodiscard]] Result<LatencyWindow> ParseStats(std::string_view answer);

/// The same numbers, as totals: for a region that is never cleared ("@stats_print").
[[nodiscard]] Result<AppTotals> ParseTotals(std::string_view answer);

/// Upper bounds of the histogram's buckets but the last, in nanoseconds, ascending.
[[nodiscard]] const std::vector<std::uint64_t>& BucketBoundsNs();

/// The value below which `fraction` of `counts` lie, interpolated within a bucket; 0 if all are 0.
[[nodiscard]] std::uint64_t PercentileNs(const std::vector<std::uint64_t>& counts, double fraction);

}  // namespace shadow
