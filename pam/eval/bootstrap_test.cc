// SPDX-License-Identifier: Apache-2.0
// The intervals of the bootstrap, held against what is known of means.
#include "pam/eval/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace shadow::pam {
namespace {

Statistic MeanOf(const std::vector<double>& x) {
  return [&x](const std::vector<std::uint32_t>& picked) {
    double sum = 0;
    for (const std::uint32_t i : picked) sum += x[i];
    return sum / static_cast<double>(picked.size());
  };
}

TEST(Bootstrap, IsAsWideAsTheMeanOfIndependentWindowsSpreads) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal(3, 2);
  std::vector<double> x(900);
  for (double& v : x) v = normal(random);
  const Interval i = Bootstrap(900, 1, 1, MeanOf(x), 4000);
  // 2 * 1.96 * 2 / sqrt(900)
  EXPECT_NEAR(i.high - i.low, 0.261, 0.04);
  EXPECT_NEAR((i.high + i.low) / 2, 3, 0.15);
}

TEST(Bootstrap, CoversTheTruthAboutAsOftenAsItSays) {
  int covered = 0;
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    std::mt19937_64 random(trial);
    std::normal_distribution<double> normal(0, 1);
    std::vector<double> x(100);
    double before = 0;
    for (double& v : x) v = before = 0.3 * before + normal(random);  // neighbours are alike
    const Interval i = Bootstrap(100, 1, trial, MeanOf(x), 300);
    covered += i.low <= 0 && 0 <= i.high ? 1 : 0;
  }
  EXPECT_GE(covered, 170);  // of 200, where 190 would be exact: short series give narrow intervals
  EXPECT_LE(covered, 199);
}

TEST(Bootstrap, DrawsRunsAsLongAsTheHorizon) {
  // Windows that come in pairs of +1 and -1: whole pairs have no spread at all.
  std::vector<double> x;
  for (int k = 0; k < 50; ++k) x.insert(x.end(), {1.0, -1.0});
  const Interval runs = Bootstrap(100, 100, 1, MeanOf(x));
  EXPECT_EQ(runs.low, 0);
  EXPECT_EQ(runs.high, 0);
}

TEST(Bootstrap, SaysNothingOfNothing) {
  const Interval i = Bootstrap(0, 1, 1, [](const auto&) { return 7.0; });
  EXPECT_EQ(i.low, 0);
  EXPECT_EQ(i.high, 0);
  const Interval one = Bootstrap(1, 60, 1, [](const auto&) { return 7.0; });
  EXPECT_EQ(one.low, 7);
  EXPECT_EQ(one.high, 7);
}

TEST(Bootstrap, IsTheSameForTheSameSeed) {
  std::vector<double> x;
  for (int k = 0; k < 40; ++k) x.push_back(std::sin(k * 1.7));
  const Interval a = Bootstrap(40, 1, 9, MeanOf(x)), b = Bootstrap(40, 1, 9, MeanOf(x));
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
}

}  // namespace
}  // namespace shadow::pam
