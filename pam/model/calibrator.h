// SPDX-License-Identifier: Apache-2.0
// The quick part of the running calibration: slope and intercept over the mixture's logit, with a
// memory of some windows, learned from outcomes as soon as they show.
//
// A prediction over a long horizon is resolved only when the horizon has passed, but much is known
// earlier: a block that was accessed is a hit at once, and one that was not within the first part
// of the horizon probably will not be. HitCurve keeps which share F(e) of the hits shows within e
// windows; a block still waiting after e windows has the likelihood 1 - F(e) p (a cure model, as
// for censored lifetimes: Boag 1949). With F = 1 that is plain log loss. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace shadow::pam {

/// What is known of one prediction: it came true, or it did not within `share` of the horizon.
struct Outcome {
  float logit = 0;
  float weight = 1;
  float share = 1;  // F(e); 1 once the horizon has passed
  bool hit = false;
};

/// Negative log likelihood of an outcome, nats; for share 1 the log loss.
double OutcomeLoss(double logit, bool hit, double share);

class HitCurve {
 public:
  /// spans: windows of the horizon.
  explicit HitCurve(std::uint32_t spans = 1);
  /// Hits of one resolved window by the window (from 0) in which they showed first; older ones are
  /// forgotten a little. [spans]
  void Add(std::span<const double> hits);
  /// Share of the hits that shows within the first `windows` of the horizon.
  [[nodiscard]] double Share(std::uint32_t windows) const;
  void Save(std::string* out) const;
  Status Load(std::string_view* in);

 private:
  std::vector<double> hits_;
};

class Calibrator {
 public:
  Calibrator();
  [[nodiscard]] float Apply(float logit) const;
  /// `resolved` outcomes are learned and the past is forgotten by their hits; `waiting` ones (of
  /// predictions whose horizon runs on) count for now only and are passed again next time.
  void Update(std::span<const Outcome> resolved, std::span<const Outcome> waiting);
  void Save(std::string* out) const;
  Status Load(std::string_view* in);

 private:
  using Pair = std::array<double, 2>;  // intercept, slope
  struct Fit {
    Pair w{0, 1};
    std::array<double, 3> precision{};  // intercept, both, slope
  };
  static void Newton(std::span<const Outcome> rows, Fit* fit);
  Fit resolved_;
  Pair now_{0, 1};
};

}  // namespace shadow::pam
