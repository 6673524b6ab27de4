// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/humanize.h"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "daemon/base/sizes.h"
#include "daemon/rpc/errors.h"

namespace shadow::ctl {
namespace {

constexpr std::int64_t kMaxDurationMs = std::int64_t{365} * 24 * 3600 * 1000;

template <typename... Args>
std::string Printf(const char* format, Args... args) {
  std::array<char, 96> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, args...);
  return buffer.data();
}

std::int64_t UnitMs(char unit) {
  switch (unit) {
    case 's':
      return 1000;
    case 'm':
      return 60'000;
    case 'h':
      return 3'600'000;
    case 'd':
      return 86'400'000;
    default:
      return 0;
  }
}

/// `value` with three significant digits.
std::string Short(double value) {
  if (value >= 99.95) return Printf("%.0f", value);
  if (value >= 9.995) return Printf("%.1f", value);
  return Printf("%.2f", value);
}

}  // namespace

Result<std::int64_t> ParseDuration(std::string_view text) {
  const Error error =
      MakeError(Code::kInvalidArgument, "The duration " + rpc::Quote(text) + " cannot be read.",
                "Write it as 30s, 10m, 2h, 1d or 1h30m, at most 365d.");
  std::int64_t total = 0;
  std::size_t i = 0;
  bool any = false;
  while (i < text.size()) {
    std::int64_t number = 0;
    const std::size_t start = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') {
      number = number * 10 + (text[i++] - '0');
      if (number > kMaxDurationMs) return error;
    }
    if (i == start) return error;
    std::int64_t unit = 1000;
    if (text.substr(i).starts_with("ms")) {
      unit = 1;
      i += 2;
    } else if (i < text.size()) {
      unit = UnitMs(text[i++]);
      if (unit == 0) return error;
    } else if (any) {
      return error;  // "1h30": minutes or seconds?
    }
    any = true;
    if (number > kMaxDurationMs / unit) return error;
    total += number * unit;
    if (total > kMaxDurationMs) return error;
  }
  if (!any) return error;
  return total;
}

std::string FormatDuration(std::int64_t ms) {
  if (ms < 0) ms = 0;
  const std::int64_t s = ms / 1000;
  if (ms < 10'000) return Printf("%.1f s", static_cast<double>(ms) / 1000);
  if (s < 60) return Printf("%" PRId64 " s", s);
  if (s < 3600) return Printf("%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
  if (s < 86400) return Printf("%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
  return Printf("%" PRId64 " d %" PRId64 " h", s / 86400, s % 86400 / 3600);
}

std::string FormatClock(std::int64_t ms) {
  if (ms < 0) ms = 0;
  const std::int64_t s = ms / 1000;
  if (s < 3600) return Printf("%" PRId64 ":%02" PRId64, s / 60, s % 60);
  return Printf("%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s % 3600 / 60, s % 60);
}

std::string FormatLatency(std::uint64_t us) {
  if (us == 0) return "-";
  if (us < 1000) return Printf("%" PRIu64 " us", us);
  const double ms = static_cast<double>(us) / 1000;
  if (ms < 1000) return Printf(ms < 99.95 ? "%.1f ms" : "%.0f ms", ms);
  return Short(ms / 1000) + " s";
}

std::string FormatRate(std::uint64_t bytes_per_second) {
  return FormatSize(bytes_per_second) + "/s";
}

std::string FormatPart(std::uint64_t done, std::uint64_t total) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  double scale = 1;
  while (unit + 1 < kUnits.size() && static_cast<double>(total) / scale >= 1024) {
    scale *= 1024;
    ++unit;
  }
  if (unit == 0) return Printf("%" PRIu64 "/%" PRIu64 " B", done, total);
  const double t = static_cast<double>(total) / scale;
  const double d = static_cast<double>(done) / scale;
  const char* format = t >= 99.95 ? "%.0f/%.0f %s" : t >= 9.995 ? "%.1f/%.1f %s" : "%.2f/%.2f %s";
  return Printf(format, d, t, kUnits[unit]);
}

int Percent(std::uint64_t done, std::uint64_t total) {
  if (total == 0 || done >= total) return 100;
  return static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
}

std::string FormatCount(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::string FormatRatio(double ratio) { return Printf("%.1f%%", ratio * 100); }

std::string FormatNumber(double n) {
  if (!(n > 0)) return "0";
  if (n >= 1e15) return Printf("%.2e", n);
  if (n >= 999.5) return FormatCount(static_cast<std::uint64_t>(n + 0.5));
  if (n < 0.0005) return "0.000";
  return n < 0.9995 ? Printf("%.3f", n) : Short(n);
}

std::int64_t ToMs(const google::protobuf::Timestamp& t) {
  return t.seconds() * 1000 + t.nanos() / 1'000'000;
}

std::int64_t ToMs(const google::protobuf::Duration& d) {
  return d.seconds() * 1000 + d.nanos() / 1'000'000;
}

std::string FormatTime(const google::protobuf::Timestamp& t) {
  const std::time_t seconds = t.seconds();
  std::tm tm{};
  ::localtime_r(&seconds, &tm);
  std::array<char, 64> buffer{};
  std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S", &tm);
  return buffer.data();
}

std::string FormatTimeUtc(const google::protobuf::Timestamp& t) {
  const std::time_t seconds = t.seconds();
  std::tm tm{};
  ::gmtime_r(&seconds, &tm);
  std::array<char, 64> buffer{};
  std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &tm);
  return Printf("%s.%03dZ", buffer.data(), t.nanos() / 1'000'000);
}

}  // namespace shadow::ctl
