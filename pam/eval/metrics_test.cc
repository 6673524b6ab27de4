// SPDX-License-Identifier: Apache-2.0
// Metrics against figures worked out by hand from scikit-learn's definitions, and against a slow
// second implementation.
#include "pam/eval/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace shadow::pam {
namespace {

TEST(Metrics, TheTextbookExample) {
  // scikit-learn's own example: y = 0 0 1 1, p = .1 .4 .35 .8: roc_auc_score .75,
  // average_precision_score .8333, brier_score_loss .158125; log_loss by hand:
  // -(ln .9 + ln .6 + ln .35 + ln .8) / 4.
  const Metrics m =
      Measure({{0.1f, 1, false}, {0.4f, 1, false}, {0.35f, 1, true}, {0.8f, 1, true}});
  EXPECT_NEAR(m.roc_auc, 0.75, 1e-9);
  EXPECT_NEAR(m.pr_auc, 0.8333333, 1e-6);
  EXPECT_NEAR(m.brier, (0.01 + 0.16 + 0.4225 + 0.04) / 4, 1e-6);
  EXPECT_NEAR(m.log_loss, -(std::log(0.9) + std::log(0.6) + std::log(0.35) + std::log(0.8)) / 4,
              1e-6);
}

TEST(Metrics, TiesAndOneClass) {
  const Metrics tied =
      Measure({{0.5f, 1, false}, {0.5f, 1, true}, {0.5f, 1, true}, {0.5f, 1, false}});
  EXPECT_NEAR(tied.roc_auc, 0.5, 1e-12);
  EXPECT_NEAR(tied.pr_auc, 0.5, 1e-12);
  EXPECT_NEAR(tied.precision[0], 0.5, 1e-12);
  EXPECT_NEAR(tied.log_loss, std::log(2.0), 1e-7);
  EXPECT_NEAR(tied.ece, 0.0, 1e-7);
  EXPECT_EQ(Measure({{0.5f, 1, true}}).roc_auc, 0.5);
  EXPECT_EQ(Measure({}).count, 0);
}

TEST(Metrics, ExpectedCalibrationError) {
  // Two bins: 4 samples said .9 with 3 hits, 6 samples said .1 with 0 hits.
  std::vector<Scored> s;
  s.reserve(10);
  for (int i = 0; i < 4; ++i) s.push_back({0.9f, 1, i < 3});
  for (int i = 0; i < 6; ++i) s.push_back({0.1f, 1, false});
  EXPECT_NEAR(Measure(s).ece, 0.4 * 0.15 + 0.6 * 0.1, 1e-6);
}

TEST(Metrics, PrecisionAtCapacityTakesTheTop) {
  std::vector<Scored> s;
  s.reserve(100);
  for (int i = 0; i < 100; ++i) s.push_back({static_cast<float>(i) / 100.0f, 1, i >= 95 || i == 3});
  const Metrics m = Measure(s);
  EXPECT_NEAR(m.precision[0], 1.0, 1e-9);
  EXPECT_NEAR(m.precision[1], 1.0, 1e-9);
  EXPECT_NEAR(m.precision[2], 0.5, 1e-9);
}

TEST(Metrics, AWeightIsAsManySamples) {
  std::mt19937 rng(3);
  std::vector<Scored> weighted, repeated;
  for (int i = 0; i < 300; ++i) {
    const Scored s{static_cast<float>(rng() % 50) / 50.0f * 0.98f + 0.01f,
                   static_cast<float>(1 + rng() % 3), rng() % 3 == 0};
    weighted.push_back(s);
    for (int k = 0; k < static_cast<int>(s.weight); ++k) repeated.push_back({s.p, 1, s.hit});
  }
  const Metrics a = Measure(weighted);
  const Metrics b = Measure(repeated);
  EXPECT_NEAR(a.log_loss, b.log_loss, 1e-9);
  EXPECT_NEAR(a.roc_auc, b.roc_auc, 1e-9);
  EXPECT_NEAR(a.pr_auc, b.pr_auc, 1e-9);
  EXPECT_NEAR(a.ece, b.ece, 1e-9);
  EXPECT_NEAR(a.precision[2], b.precision[2], 1e-9);
}

TEST(Metrics, ChanceAloneMakesACalibrationError) {
  // Outcomes are drawn from the predictions themselves: whatever error remains is chance.
  std::mt19937 rng(5);
  double sum = 0;
  double said = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<Scored> s;
    for (int i = 0; i < 600; ++i) {
      const float p = 0.02f + 0.9f * static_cast<float>(i) / 600.0f;
      const bool hit = std::uniform_real_distribution<float>(0, 1)(rng) < p;
      s.push_back({p, i % 2 == 0 ? 1.0f : 3.0f, hit});
    }
    const Metrics m = Measure(s);
    sum += m.ece / 400;
    said = m.ece_chance;
  }
  EXPECT_NEAR(sum, said, 0.03 * said);
  EXPECT_EQ(Measure({{0.5f, 1, true}, {0.5f, 1, false}}).ece, 0);
  EXPECT_NEAR(Measure({{0.5f, 1, true}, {0.5f, 1, false}}).ece_chance, 0.28209, 1e-4);
}

TEST(Metrics, AgreesWithCountingAllPairs) {
  std::mt19937 rng(11);
  for (int round = 0; round < 20; ++round) {
    std::vector<Scored> s;
    for (int i = 0; i < 120; ++i) {
      const float p = 0.01f + static_cast<float>(rng() % 30) / 31.0f;
      s.push_back({p, 1, static_cast<float>(rng() % 100) / 100.0f < p});
    }
    double wins = 0, pairs = 0, ap = 0, positives = 0;
    for (const Scored& a : s) {
      if (!a.hit) continue;
      ++positives;
      double above = 0, hits_above = 0;
      for (const Scored& b : s) {
        if (b.p >= a.p) {
          ++above;
          hits_above += b.hit ? 1 : 0;
        }
        if (b.hit) continue;
        ++pairs;
        wins += a.p > b.p ? 1 : a.p == b.p ? 0.5 : 0;
      }
      ap += hits_above / above;  // sum over hits of the precision at their threshold
    }
    const Metrics m = Measure(s);
    EXPECT_NEAR(m.roc_auc, wins / pairs, 1e-9);
    EXPECT_NEAR(m.pr_auc, ap / positives, 1e-9);
  }
}

}  // namespace
}  // namespace shadow::pam
