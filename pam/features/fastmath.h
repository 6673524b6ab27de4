// SPDX-License-Identifier: Apache-2.0
// Small numeric helpers shared by features and inference: half floats, fast log1p, decay tables.
//
// Pure. The approximations are used for training and for inference alike, so their error (below
// 1e-4 relative) is no source of mismatch.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace shadow::pam {

/// IEEE binary16 as bits. Values beyond 65504 saturate; NaN becomes 0 (state must stay usable).
inline std::uint16_t ToHalf(float f) {
  if (!(f == f)) return 0;
  const std::uint32_t x = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t sign = (x >> 16) & 0x8000u;
  const float a = std::fabs(f);
  if (a >= 65504.0f) return static_cast<std::uint16_t>(sign | 0x7bffu);
  if (a < 6.103515625e-5f) {  // subnormal: multiples of 2^-24
    // NOLINTNEXTLINE(bugprone-incorrect-roundings): never negative, and lround is a call
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(a * 16777216.0f + 0.5f));
  }
  std::uint32_t y = (x & 0x7fffffffu) - (112u << 23);
  y += 0xfffu + ((y >> 13) & 1u);  // to nearest even
  return static_cast<std::uint16_t>(sign | (y >> 13));
}

inline float FromHalf(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t rest = h & 0x7fffu;
  if (rest < 0x0400u) {
    const float v = static_cast<float>(rest) * (1.0f / 16777216.0f);
    return sign != 0 ? -v : v;
  }
  return std::bit_cast<float>(sign | ((rest << 13) + (112u << 23)));
}

/// log(1 + x) for x >= 0, relative error below 1e-4; no call into libm.
inline float FastLog1p(float x) {
  const float v = 1.0f + x;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(v);
  const auto e = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float m = std::bit_cast<float>((bits & 0x007fffffu) | 0x3f800000u);  // [1, 2)
  // log(m) = 2 atanh((m - 1) / (m + 1))
  const float s = (m - 1.0f) / (m + 1.0f);
  const float s2 = s * s;
  const float log_m = 2.0f * s * (1.0f + s2 * (0.33333333f + s2 * (0.2f + s2 * 0.142857f)));
  return e * 0.69314718f + log_m;
}

/// 2^(-n / half_life) for whole n, from a table for the first 4096 and exp2 beyond.
class DecayTable {
 public:
  explicit DecayTable(double half_life) : half_life_(half_life) {
    for (std::size_t i = 0; i < table_.size(); ++i) {
      table_[i] = static_cast<float>(std::exp2(-static_cast<double>(i) / half_life));
    }
  }
  float operator()(std::uint32_t n) const {
    return n < table_.size() ? table_[n]
                             : static_cast<float>(std::exp2(-static_cast<double>(n) / half_life_));
  }

 private:
  double half_life_;
  std::array<float, 4096> table_{};
};

inline double Sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }
inline double Logit(double p) { return std::log(p) - std::log1p(-p); }

}  // namespace shadow::pam
