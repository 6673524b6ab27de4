// SPDX-License-Identifier: Apache-2.0
// The two simple rivals the network has to beat, for each of the four horizons: calibrated EWMA
// (the best of five half-lives) and a logistic regression on 13 features.
//
// One thread; Fit() reads labelled samples of the training part only. Both answer in logits.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/result.h"
#include "pam/baseline/logistic.h"
#include "pam/model/dataset.h"

namespace shadow::pam {

inline constexpr std::array<int, 13> kThirteen = {kIdle,  kGap,    kPhase,  kNow,     kHit1,
                                                  kHit5,  kHit30,  kHit240, kHit1440, kWrites,
                                                  kLeft5, kRight5, kRegion5};
inline constexpr std::array<int, 5> kHalfLives = {kHit1, kHit5, kHit30, kHit240, kHit1440};
inline constexpr std::array<const char*, 5> kHalfLifeNames = {"1 min", "5 min", "30 min", "4 h",
                                                              "24 h"};

class Rivals {
 public:
  /// Fits on samples at windows [from, to), with labels that end at `to`. A horizon with fewer than
  /// 20 hits or misses that could be looked at in full is extrapolated from the shorter one.
  void Fit(const Dataset& data, std::uint32_t from, std::uint32_t to);

  /// Logit that the block is accessed within horizon `j`.
  [[nodiscard]] float Regression(int j, const float* features) const;
  [[nodiscard]] float Ewma(int j, const float* features) const;
  /// Any of the five half-lives by itself (0..4), Platt-calibrated.
  [[nodiscard]] float EwmaOf(int half_life, int j, const float* features) const;
  /// Base rate of the training part, and the rates of "accessed in the last window" yes / no.
  [[nodiscard]] float Constant(int j) const { return horizon_[j].constant; }
  [[nodiscard]] float LastWindow(int j, const float* features) const;
  /// Rank by idle time, calibrated.
  [[nodiscard]] float Recency(int j, const float* features) const;
  [[nodiscard]] int half_life(int j) const { return horizon_[j].half_life; }
  [[nodiscard]] bool isotonic(int j) const { return !horizon_[j].ewma_isotonic.empty(); }
  /// Samples of the record that they were fitted on.
  [[nodiscard]] std::uint64_t rows() const { return rows_; }
  void Save(std::string* out) const;
  Status Load(std::string_view* in);

 private:
  struct Horizon {
    bool fitted = false;
    float constant = -3;
    std::array<float, 2> last_window{-3, -3};
    int half_life = 1;
    Logistic regression, recency;
    std::array<Logistic, 5> ewma;
    Isotonic ewma_isotonic;
    double stretch = 1;  // extrapolation: 1 - (1 - p)^stretch of the horizon before
  };
  [[nodiscard]] int Fitted(int j) const;  // the horizon whose numbers are used for j
  [[nodiscard]] float Stretch(int from, int to, double logit) const;

  std::array<Horizon, kHazards> horizon_;
  std::uint64_t rows_ = 0;
};

}  // namespace shadow::pam
