// SPDX-License-Identifier: Apache-2.0
// Cache policies and simulators against figures worked out by hand.
#include "pam/place/simulate.h"

#include <gtest/gtest.h>

#include <random>

#include "pam/place/cache.h"
#include "pam/place/tier.h"

namespace shadow::pam {
namespace {

WindowedTrace Of(const std::vector<std::uint32_t>& blocks, std::int64_t step_us) {
  WindowedTrace t;
  std::int64_t now = 0;
  for (const std::uint32_t b : blocks) {
    t.requests.push_back({now, b, false});
    now += step_us;
  }
  const auto windows = static_cast<std::uint32_t>(now / t.options.window_us + 1);
  t.windows.resize(windows);
  return t;
}

double Hits(const std::string& policy, std::size_t capacity,
            const std::vector<std::uint32_t>& blocks) {
  const WindowedTrace t = Of(blocks, 1000);
  SimOptions o;
  o.instant = true;
  return SimulateCache(t, 0, 1, policy, capacity, o).hit_ratio * static_cast<double>(blocks.size());
}

TEST(Cache, HandWorkedSequences) {
  const std::vector<std::uint32_t> s = {1, 2, 3, 1, 2, 3, 1, 2, 3};
  EXPECT_NEAR(Hits("lru", 2, s), 0, 1e-9);
  EXPECT_NEAR(Hits("lru", 3, s), 6, 1e-9);
  EXPECT_NEAR(Hits("belady", 2, s), 4, 1e-9);  // 3 is never taken in: 1 and 2 hit twice each
  const std::vector<std::uint32_t> skew = {1, 1, 1, 2, 1, 3, 1, 4, 1};
  EXPECT_NEAR(Hits("lfu", 1, skew), 5, 1e-9);
  EXPECT_NEAR(Hits("static", 1, skew), 5, 1e-9);
}

TEST(Cache, NoneBeatsBeladyAndAllRespectCapacity) {
  std::mt19937 rng(3);
  for (int round = 0; round < 10; ++round) {
    std::vector<std::uint32_t> s;
    for (int i = 0; i < 3000; ++i) {
      s.push_back(rng() % 3 == 0 ? rng() % 200
                                 : rng() % 12 * (1 + static_cast<std::uint32_t>(round)));
    }
    const double best = Hits("belady", 20, s);
    for (const char* p : kCachePolicies) EXPECT_LE(Hits(p, 20, s), best + 1e-9) << p;
    EXPECT_GT(Hits("arc", 20, s), 0.3 * best);
    EXPECT_GT(Hits("s3fifo", 20, s), 0.3 * best);
    EXPECT_GT(Hits("2q", 20, s), 0.3 * best);
    EXPECT_GT(Hits("smq", 20, s), 0.3 * best);
  }
  EXPECT_EQ(MakeCachePolicy("nonsense", 3, {}), nullptr);
}

TEST(Simulate, MovesTakeTimeAndAreCharged) {
  // One block, accessed every 30 ms: the move takes 20 ms of link and 50 ms of delay, so accesses 2
  // and 3 (30, 60 ms) still miss and the fourth (90 ms) hits.
  const WindowedTrace t = Of({1, 1, 1, 1, 1}, 30'000);
  const SimOptions o;
  const SimResult r = SimulateCache(t, 0, 1, "lru", 1, o);
  EXPECT_EQ(r.accesses, 5u);
  EXPECT_NEAR(r.hit_ratio, 2.0 / 5, 1e-9);
  EXPECT_NEAR(r.net_ms, (3 * 8 + 2 * 0.1 + 20) / 5, 1e-9);
  EXPECT_NEAR(r.moves_per_1000, 200, 1e-9);
}

// One block is accessed once a minute all day, then another 80 times within a minute. By EWMA 4 h
// the first is worth 285 accesses and nothing displaces it. In two parts it is worth 10 log1p(52)
// + 0.5 * 13.2 = 46.3, and a move costs 2.5: the other's 60th access makes it 10 log1p(6.0) + 0.5 *
// 58.4 = 48.7, too little, its 61st 49.3. When the burst is over the first one comes back.
TEST(Simulate, ABurstDisplacesWhatIsWarmAllDay) {
  using internal::Stats;
  using internal::Tier;
  using internal::TierRule;
  for (const bool parts : {false, true}) {
    Stats stats(2);
    TierRule rule;
    if (parts) rule = {.name = "patient", .minutes10 = 0.5, .bend = 10};
    Tier tier(rule, 1, 1, stats, {});
    const auto access = [&](std::uint32_t block, double minute) {
      stats.Access(block, minute);
      return tier.Access(block, minute);
    };
    for (int m = 0; m < 600; ++m) {
      access(0, m);
      tier.Rebalance(m + 0.5);
    }
    EXPECT_EQ(tier.moves(), 1u);
    int misses = 0;
    for (int i = 0; i < 80; ++i) misses += access(1, 600 + i / 80.0) > 1 ? 1 : 0;
    tier.Rebalance(601);
    EXPECT_EQ(tier.moves(), parts ? 2u : 1u);
    EXPECT_EQ(misses, parts ? 61 : 80);
    for (int m = 601; m < 660; ++m) {
      access(0, m);
      tier.Rebalance(m + 0.5);
    }
    EXPECT_EQ(tier.moves(), parts ? 3u : 1u);
    EXPECT_LT(access(0, 660), 1);
  }
}

TEST(Simulate, EveryPolicyReportsAndTheBoundHolds) {
  std::mt19937 rng(4);
  std::vector<std::uint32_t> s;
  for (int i = 0; i < 6000; ++i) s.push_back(rng() % 4 == 0 ? rng() % 300 : rng() % 10);
  const WindowedTrace t = Of(s, 400'000);
  const auto end = static_cast<std::uint32_t>(t.windows.size());
  const auto all = SimulateAll(t, end / 2, end, {}, {});
  double pam = 0, ewma = 0, lru = 0, bound = 0;
  for (const SimResult& r : all) {
    EXPECT_GT(r.accesses, 0u) << r.policy;
    if (r.tier != 0.05) continue;
    if (r.policy == "pam") pam = r.net_ms;
    if (r.policy == "ewma_4h") ewma = r.net_ms;
    if (r.policy == "lru") lru = r.net_ms;
    if (r.policy == "clairvoyant") bound = r.net_ms;
  }
  EXPECT_GT(bound, 0);
  EXPECT_LE(bound, pam);
  EXPECT_LE(pam, 1.02 * std::min(ewma, lru));
}

}  // namespace
}  // namespace shadow::pam
