// SPDX-License-Identifier: Apache-2.0
// Durations, rates, times and latencies as people read and write them. Pure functions.
// Sizes are in daemon/base/sizes.h, which the daemon uses too.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow::ctl {

/// Milliseconds of "90", "90s", "500ms", "10m", "2h", "1d", "1h30m"; at most 365 days. "0" is 0.
[[nodiscard]] Result<std::int64_t> ParseDuration(std::string_view text);

/// "0.4 s", "38 s", "2 min 5 s", "1 h 2 min", "3 d 4 h".
[[nodiscard]] std::string FormatDuration(std::int64_t ms);
/// "0:38", "12:05", "1:02:03": for the progress line, where the width must not jump.
[[nodiscard]] std::string FormatClock(std::int64_t ms);
/// "850 us", "2.4 ms", "1.20 s"; "-" for 0, which means: no I/O was seen.
[[nodiscard]] std::string FormatLatency(std::uint64_t us);
/// "120 MiB/s".
[[nodiscard]] std::string FormatRate(std::uint64_t bytes_per_second);
/// "3.00/7.50 GiB": both in the unit of `total`.
[[nodiscard]] std::string FormatPart(std::uint64_t done, std::uint64_t total);
/// 0..100, rounded down: 100 means all of it. 100 when there is nothing to do.
[[nodiscard]] int Percent(std::uint64_t done, std::uint64_t total);
/// "1,234,567".
[[nodiscard]] std::string FormatCount(std::uint64_t n);

/// "71.3%" of 0..1.
[[nodiscard]] std::string FormatRatio(double ratio);
/// With three significant digits: "37.6", "0.825", "1,204".
[[nodiscard]] std::string FormatNumber(double n);

[[nodiscard]] std::int64_t ToMs(const google::protobuf::Timestamp& t);
[[nodiscard]] std::int64_t ToMs(const google::protobuf::Duration& d);
/// Local time, "2026-11-23 04:31:07".
[[nodiscard]] std::string FormatTime(const google::protobuf::Timestamp& t);
/// RFC 3339 in UTC with milliseconds, "2026-11-23T04:31:07.250Z".
[[nodiscard]] std::string FormatTimeUtc(const google::protobuf::Timestamp& t);

}  // namespace shadow::ctl
