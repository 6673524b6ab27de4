// SPDX-License-Identifier: Apache-2.0
// Metrics of probabilistic predictions with sample weights: what the evaluator reports.
//
// Pure functions. Definitions follow scikit-learn 1.2 (log_loss with its clipping left to the
// caller, brier_score_loss, roc_auc_score, average_precision_score), extended by weights; ECE uses
// 15 bins of equal width (Naeini et al. 2015).
#pragma once

#include <cstdint>
#include <vector>

namespace shadow::pam {

struct Scored {
  float p = 0;  // predicted probability, clipped to [1e-6, 1 - 1e-6] by the evaluator
  float weight = 1;
  bool hit = false;  // what happened
};

struct ReliabilityBin {
  double predicted = 0;  // mean prediction
  double observed = 0;   // share of hits
  double weight = 0;
};

struct Metrics {
  double count = 0;      // weight of all samples
  double positives = 0;  // weight of the hits
  double log_loss = 0;   // nats per sample
  double brier = 0;
  double ece = 0;
  /// The ECE that these very predictions would show on the average by chance alone, were each of
  /// them exactly right: the sum over bins of the mean of |N(0, sum of w^2 p (1 - p))|. It takes a
  /// sample for one independent draw; the evaluator allows for horizons that overlap, but not for
  /// bursts, which hit many blocks at once: chance does rather more. A predictor as sharp as this
  /// one cannot be expected to score below it.
  double ece_chance = 0;
  double roc_auc = 0;                // 0.5 if there is one class only
  double pr_auc = 0;                 // average precision; ties are one threshold
  std::vector<ReliabilityBin> bins;  // 15
  /// Share of hits among predictions within 0.05 of 0.3 and of 0.7; -1 where there are none.
  double at_03 = -1, at_07 = -1;
  /// Precision among the highest-ranked 1, 5, 10 and 20 % of the samples; ties share.
  double precision[4] = {0, 0, 0, 0};
  std::vector<std::pair<float, float>> pr_curve;  // (recall, precision), at most 200 points
};

inline constexpr double kCapacities[4] = {0.01, 0.05, 0.10, 0.20};

/// Empty input gives all zeroes.
Metrics Measure(std::vector<Scored> samples);

}  // namespace shadow::pam
