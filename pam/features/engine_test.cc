// SPDX-License-Identifier: Apache-2.0
// The feature engine: averages against a slow second computation, rings, memory, saving.
#include "pam/features/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace shadow::pam {
namespace {

Window Of(std::vector<Access> a) {
  Window w;
  for (const Access& x : a) w.ops += x.count;
  w.bytes = w.ops * 4096;
  w.accesses = std::move(a);
  return w;
}

TEST(Half, RoundTrip) {
  for (const float x : {0.0f, 1.0f, 0.5f, 3.14159f, 1000.25f, 65504.0f, 6e-5f, 1e-7f}) {
    EXPECT_NEAR(FromHalf(ToHalf(x)), x, std::max(6e-8f, x / 1000)) << x;
    EXPECT_NEAR(FromHalf(ToHalf(-x)), -x, std::max(6e-8f, x / 1000)) << x;
  }
  EXPECT_EQ(FromHalf(ToHalf(1e9f)), 65504.0f);
  EXPECT_EQ(FromHalf(ToHalf(std::nanf(""))), 0.0f);
}

TEST(FastLog1p, IsCloseEnough) {
  for (float x = 0; x < 1e6f; x = x * 1.37f + 0.013f) {
    EXPECT_NEAR(FastLog1p(x), std::log1p(x), 1e-4 + 1e-4 * std::log1p(x)) << x;
  }
}

TEST(Engine, AveragesMatchASlowComputation) {
  FeatureEngine e{EngineOptions{}};
  std::mt19937 rng(5);
  std::vector<std::uint32_t> counts;
  for (int w = 0; w < 300; ++w) {
    const std::uint32_t n = rng() % 4 == 0 ? 1 + rng() % 9 : 0;
    counts.push_back(n);
    std::vector<Access> a;
    if (n > 0) a.push_back({7, n, n / 2});
    a.push_back({9, 1, 0});
    e.Close(Of(a));
    const std::uint32_t index = e.Find(7);
    if (index == FeatureEngine::kNone) continue;
    float x[kFeatures];
    e.Query(index, x);
    const double half_lives[] = {1, 5, 30, 240, 1440};
    for (int h = 0; h < 5; ++h) {
      double count = 0, hit = 0;
      for (int k = 0; k <= w; ++k) {
        const double keep = std::exp2(-(w - k) / half_lives[h]);
        count += counts[static_cast<std::size_t>(k)] * keep;
        hit += counts[static_cast<std::size_t>(k)] > 0 ? keep : 0;
      }
      EXPECT_NEAR(x[kCount1 + h], std::log1p(count), 0.01) << w << " " << h;
      EXPECT_NEAR(x[kHit1 + h], std::log1p(hit), 0.01) << w << " " << h;
    }
  }
}

TEST(Engine, KnowsHourYesterdayAndPeriod) {
  FeatureEngine e{EngineOptions{}};
  // Block 1 is accessed once an hour at minute 5, block 2 every 10 minutes, block 3 once a day.
  for (int w = 0; w < 2 * 1440 + 5; ++w) {
    std::vector<Access> a;
    if (w % 60 == 5) a.push_back({1, 1, 0});
    if (w % 10 == 5) a.push_back({2, 1, 0});
    if (w % 1440 == 5) a.push_back({3, 1, 0});
    a.push_back({1000, 1, 0});
    e.Close(Of(a));
  }
  float x[kFeatures];
  e.Query(e.Find(1), x);  // now is minute 5 of an hour of the third day
  EXPECT_EQ(x[kHourAgo], 1.0f);
  EXPECT_EQ(x[kHourHits], 1.0f);
  EXPECT_EQ(x[kYesterday], 1.0f);
  e.Query(e.Find(2), x);
  EXPECT_GT(x[kPeriod], 0.7f);
  e.Query(e.Find(3), x);
  EXPECT_EQ(x[kYesterday], 1.0f);
  EXPECT_EQ(x[kHourAgo], 0.0f);
  e.Close(Of({}));
  e.Query(e.Find(3), x);
  EXPECT_EQ(x[kYesterday], 0.0f);
  e.Query(e.Find(2), x);
  EXPECT_LT(x[kPeriod], 0.5f);  // some longer period always fits a little
}

TEST(Engine, CountsTheNeverSeenByClass) {
  FeatureEngine e{EngineOptions{}};
  e.Close(Of({{10, 1, 0}, {200, 1, 0}}));
  const auto n = e.UnseenPerClass(1000);
  std::uint64_t sum = 0;
  for (const auto c : n) sum += c;
  EXPECT_EQ(sum, 998u);
  EXPECT_EQ(n[0], 2u);        // 11 and 201
  EXPECT_EQ(n[1], 2u * 62u);  // the rest of both regions
  EXPECT_EQ(e.UnseenClass(11), 0);
  EXPECT_EQ(e.UnseenClass(12), 1);
  EXPECT_EQ(e.UnseenClass(900), 5);
}

TEST(Engine, SaveAndLoadAreTheSame) {
  FeatureEngine a{EngineOptions{}};
  std::mt19937 rng(2);
  const auto window = [&rng] {
    std::vector<Access> list;
    for (std::uint32_t b = 0; b < 500; ++b) {
      if (rng() % 6 == 0) list.push_back({b * 3, 1 + static_cast<std::uint32_t>(rng() % 5), 0});
    }
    return Of(list);
  };
  for (int w = 0; w < 150; ++w) a.Close(window());
  std::string bytes;
  a.Save(&bytes);
  FeatureEngine b{EngineOptions{}};
  std::string_view in = bytes;
  ASSERT_TRUE(b.Load(&in).ok());
  EXPECT_TRUE(in.empty());
  const Window next = window();
  a.Close(next);
  b.Close(next);
  ASSERT_EQ(a.size(), b.size());
  for (std::uint32_t i = 0; i < a.size(); ++i) {
    float x[kFeatures], y[kFeatures];
    a.Query(i, x);
    b.Query(b.Find(a.state(i).block), y);
    for (int f = 0; f < kFeatures; ++f) EXPECT_EQ(x[f], y[f]) << f;
  }
  for (std::size_t cut = 0; cut < bytes.size(); cut += 1 + bytes.size() / 97) {
    FeatureEngine c{EngineOptions{}};
    std::string_view part = std::string_view(bytes).substr(0, cut);
    EXPECT_FALSE(c.Load(&part).ok());
  }
}

}  // namespace
}  // namespace shadow::pam
