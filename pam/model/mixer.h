// SPDX-License-Identifier: Apache-2.0
// The running calibration: mixes the logits of two networks and two rivals into one, and
// learns the mixture window by window from what came true.
//
// Logistic mixing in the logit domain (Mattern 2012, as in PAQ), here with a second-order step: the
// posterior of a logistic regression with forgetting (a Laplace approximation carried from window
// to window). One thread. It starts as the mean of the two networks; a prior holds it there until
// there is evidence.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow::pam {

inline constexpr int kExperts = 4;  // network, logistic regression, EWMA, second network
inline constexpr int kMixInputs = kExperts + 1;

struct MixRow {
  std::array<float, kExperts> logit{};
  float hit = 0;
  float weight = 1;
};

struct MixerOptions {
  double prior = 1000;  // pseudo-observations that hold the weights at the start
  /// Evidence of the past is forgotten by outcomes, not by time: after so many accesses that came
  /// true it counts 1/e. Per window it keeps 0.9 at the least and 0.998 at the most.
  double memory = 500;
  double intercept_prior = 20;
};

class Mixer {
 public:
  explicit Mixer(const MixerOptions& options = {});
  /// The mixed logit.
  [[nodiscard]] float Mix(const std::array<float, kExperts>& logit) const;
  /// Takes the outcomes of one window. The past is forgotten a little.
  void Update(std::span<const MixRow> rows);
  /// Fits to convergence, as the start.
  void Fit(std::span<const MixRow> rows);
  [[nodiscard]] const std::array<double, kMixInputs>& weights() const { return w_; }
  void Save(std::string* out) const;
  Status Load(std::string_view* in);

 private:
  void Newton(std::span<const MixRow> rows, int steps);
  MixerOptions options_;
  std::array<double, kMixInputs> w_{};
  std::array<double, std::size_t{kMixInputs} * kMixInputs> precision_{};
};

}  // namespace shadow::pam
