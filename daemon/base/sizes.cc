// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/sizes.h"

#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <limits>

namespace shadow {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::string_view kUnits = "BKMGTP";

std::string_view Trim(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front())) != 0) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back())) != 0) s.remove_suffix(1);
  return s;
}

// What the user typed, made safe and short enough to be quoted in a message.
std::string Quote(std::string_view s) {
  std::string out = "'";
  for (char c : s.substr(0, 40)) out += std::isprint(static_cast<unsigned char>(c)) != 0 ? c : '?';
  return out + (s.size() > 40 ? "...'" : "'");
}

Error BadSize(std::string_view text) {
  return MakeError(Code::kInvalidArgument, Quote(text) + " is not a size.",
                   "write a number with K, M, G, T or P: 20G or 20GiB, or 20GB for powers of 1000");
}

struct Number {
  long double value = 0;
  std::string_view rest;
};

// Decimal digits with at most one point; no sign, no exponent, no hex.
bool ReadNumber(std::string_view s, Number* out) {
  std::size_t i = 0;
  long double value = 0;
  long double scale = 1;
  bool point = false;
  bool digits = false;
  for (; i < s.size() && i < 40; ++i) {
    if (s[i] == '.' && !point) {
      point = true;
    } else if (std::isdigit(static_cast<unsigned char>(s[i])) != 0) {
      digits = true;
      value = value * 10 + (s[i] - '0');
      if (point) scale *= 10;
    } else {
      break;
    }
  }
  out->value = value / scale;
  out->rest = s.substr(i);
  return digits;
}

// The factor of "K", "KiB", "KB", "B"; 0 if it is no unit. In upper case.
std::uint64_t UnitFactor(const std::string& unit) {
  const std::size_t power = unit.empty() ? std::string_view::npos : kUnits.find(unit[0]);
  if (power == std::string_view::npos) return 0;
  const std::string tail = unit.substr(1);
  if (tail.empty() || (tail == "IB" && power > 0)) return std::uint64_t{1} << (10 * power);
  if (tail != "B" || power == 0) return 0;
  std::uint64_t factor = 1;
  for (std::size_t i = 0; i < power; ++i) factor *= 1000;
  return factor;
}

std::string Upper(std::string_view s) {
  std::string out;
  for (char c : s) out += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

Result<std::uint64_t> ParseSize(std::string_view text) {
  Number n;
  if (!ReadNumber(Trim(text), &n)) return BadSize(text);
  const std::string unit = Upper(Trim(n.rest));
  if (unit.empty() && n.value == 0) return 0;
  if (unit.empty()) {
    const std::string number(Trim(text).substr(0, 20));
    return MakeError(Code::kInvalidArgument, Quote(text) + " has no unit.",
                     "write " + number + "G, " + number + "M or, for bytes, " + number + "B");
  }
  const std::uint64_t factor = UnitFactor(unit);
  if (factor == 0) return BadSize(text);
  const long double bytes = n.value * static_cast<long double>(factor);
  if (bytes > static_cast<long double>(kMax)) {
    return MakeError(Code::kInvalidArgument, Quote(text) + " is too large to be a size.",
                     "the largest size is 8 EiB");
  }
  return static_cast<std::uint64_t>(std::llround(bytes));
}

Result<std::uint64_t> ParseRate(std::string_view text) {
  std::string_view s = Trim(text);
  if (s.size() > 2 && s.substr(s.size() - 2) == "/s") s.remove_suffix(2);
  return ParseSize(s);
}

Result<std::uint64_t> ResolveSize(std::string_view spec, std::uint64_t current) {
  std::string_view s = Trim(spec);
  if (s.empty()) return current;
  const char sign = s[0] == '+' || s[0] == '-' ? s[0] : '=';
  if (sign != '=') s.remove_prefix(1);
  std::uint64_t amount = 0;
  if (!s.empty() && s.back() == '%') {
    Number n;
    if (!ReadNumber(s, &n) || n.rest != "%") return BadSize(spec);
    const long double bytes = static_cast<long double>(current) * n.value / 100;
    if (bytes > static_cast<long double>(kMax)) return BadSize(spec);
    amount = static_cast<std::uint64_t>(bytes);
  } else {
    SHADOW_ASSIGN(amount, ParseSize(s));
  }
  if (sign == '+') {
    if (amount > kMax - std::min(current, kMax)) return BadSize(spec);
    return current + amount;
  }
  if (sign == '-') {
    if (amount >= current) {
      return MakeError(
          Code::kInvalidArgument,
          Quote(spec) + " would leave nothing of a volume of " + FormatSize(current) + ".",
          "take away less than the whole volume");
    }
    return current - amount;
  }
  return amount;
}

std::string FormatSize(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::array<char, 48> buffer{};
  if (bytes < 1024) {
    std::snprintf(buffer.data(), buffer.size(), "%llu B", static_cast<unsigned long long>(bytes));
    return buffer.data();
  }
  auto value = static_cast<double>(bytes);
  std::size_t power = 0;
  while (value >= 1024 && power + 1 < kNames.size()) {
    value /= 1024;
    ++power;
  }
  const int decimals = value >= 1000 || value == std::floor(value) ? 0 : value >= 100 ? 1 : 2;
  std::snprintf(buffer.data(), buffer.size(), "%.*f %s", decimals, value, kNames.at(power));
  return buffer.data();
}

std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  const std::uint64_t rest = value % unit;
  if (rest == 0) return value;
  const std::uint64_t add = unit - rest;
  if (value > std::numeric_limits<std::uint64_t>::max() - add) return value - rest;
  return value + add;
}

}  // namespace shadow
