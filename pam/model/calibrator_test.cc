// SPDX-License-Identifier: Apache-2.0
// The quick calibration: what it learns from resolved and from waiting predictions.
#include "pam/model/calibrator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "pam/features/fastmath.h"

namespace shadow::pam {
namespace {

/// `n` outcomes of predictions that say `said` while the truth is `truth`; of the hits `share`
/// shows by now.
std::vector<Outcome> Draw(int n, double said, double truth, double share, std::mt19937* rng) {
  std::uniform_real_distribution<double> u(0, 1);
  std::vector<Outcome> out;
  for (int i = 0; i < n; ++i) {
    const bool hit = u(*rng) < truth && u(*rng) < share;
    out.push_back({static_cast<float>(Logit(said)), 1, static_cast<float>(share), hit});
  }
  return out;
}

TEST(OutcomeLoss, IsLogLossOnceTheHorizonHasPassed) {
  const double z = Logit(0.2);
  EXPECT_NEAR(OutcomeLoss(z, true, 1), -std::log(0.2), 1e-9);
  EXPECT_NEAR(OutcomeLoss(z, false, 1), -std::log(0.8), 1e-9);
  // Half of the hits would have shown: still waiting has the likelihood 1 - 0.5 * 0.2.
  EXPECT_NEAR(OutcomeLoss(z, false, 0.5), -std::log(0.9), 1e-9);
  EXPECT_NEAR(OutcomeLoss(z, false, 0), 0, 1e-9);
}

TEST(HitCurve, SharesAddUpAndOldHitsFade) {
  HitCurve curve(5);
  EXPECT_NEAR(curve.Share(0), 0, 1e-9);
  EXPECT_NEAR(curve.Share(5), 1, 1e-9);
  const std::vector<double> early = {600, 200, 100, 50, 50};
  for (int i = 0; i < 10; ++i) curve.Add(early);
  EXPECT_NEAR(curve.Share(1), 0.6, 0.01);
  EXPECT_NEAR(curve.Share(3), 0.9, 0.01);
  const std::vector<double> late = {0, 0, 0, 0, 1000};
  for (int i = 0; i < 300; ++i) curve.Add(late);
  EXPECT_LT(curve.Share(4), 0.05);
  EXPECT_EQ(HitCurve(1).Share(1), 1);
}

TEST(Calibrator, FollowsWhatCameTrue) {
  std::mt19937 rng(1);
  Calibrator c;
  EXPECT_FLOAT_EQ(c.Apply(0.7f), 0.7f);  // nothing known: as it was said
  for (int w = 0; w < 10; ++w) c.Update(Draw(1000, 0.3, 0.1, 1, &rng), {});
  EXPECT_NEAR(Sigmoid(c.Apply(static_cast<float>(Logit(0.3)))), 0.1, 0.02);
  for (int w = 0; w < 10; ++w) c.Update(Draw(1000, 0.3, 0.5, 1, &rng), {});
  EXPECT_NEAR(Sigmoid(c.Apply(static_cast<float>(Logit(0.3)))), 0.5, 0.05);
}

TEST(Calibrator, SeesAChangeInPredictionsThatStillWait) {
  std::mt19937 rng(2);
  Calibrator c;
  // A fifth of the way the truth is 0.2, not 0.5: unbiased although most outcomes are open.
  c.Update({}, Draw(20'000, 0.5, 0.2, 0.3, &rng));
  EXPECT_NEAR(Sigmoid(c.Apply(0)), 0.2, 0.02);
  c.Update({}, {});  // what waited was counted for then only
  EXPECT_FLOAT_EQ(c.Apply(0), 0);
}

TEST(Calibrator, SavesAndRefusesNonsense) {
  std::mt19937 rng(3);
  Calibrator c;
  c.Update(Draw(1000, 0.3, 0.1, 1, &rng), {});
  HitCurve curve(5);
  std::string bytes;
  c.Save(&bytes);
  curve.Save(&bytes);
  std::string_view in = bytes;
  Calibrator d;
  HitCurve other(5);
  ASSERT_TRUE(d.Load(&in).ok());
  ASSERT_TRUE(other.Load(&in).ok());
  EXPECT_TRUE(in.empty());
  EXPECT_FLOAT_EQ(d.Apply(1), c.Apply(1));
  const double nan = std::nan("");
  std::string bad = bytes;
  bad.replace(0, sizeof(nan), reinterpret_cast<const char*>(&nan), sizeof(nan));
  in = bad;
  EXPECT_FALSE(d.Load(&in).ok());
  std::string_view cut = std::string_view(bytes).substr(0, 9);
  EXPECT_FALSE(d.Load(&cut).ok());
  HitCurve wrong(60);
  std::string only;
  curve.Save(&only);
  in = only;
  EXPECT_FALSE(wrong.Load(&in).ok());
}

}  // namespace
}  // namespace shadow::pam
