// SPDX-License-Identifier: Apache-2.0
// Cache policies and simulators against figures worked out by hand.
#include "pam/place/simulate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "pam/place/cache.h"
#include "pam/place/streams.h"
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

/// A stream over `blocks` blocks, `each` accesses to every one, `step_ms` apart.
template <typename OnAccess>
void Stream(std::uint32_t blocks, int each, double step_ms, const OnAccess& access) {
  double ms = 0;
  for (std::uint32_t b = 0; b < blocks; ++b) {
    for (int i = 0; i < each; ++i, ms += step_ms) access(b, ms / 60'000);
  }
}

std::vector<std::uint32_t> Row(std::uint32_t blocks) {
  std::vector<std::uint32_t> right(blocks);
  for (std::uint32_t b = 0; b < blocks; ++b) {
    right[b] = b + 1 < blocks ? b + 1 : internal::Streams::kNone;
  }
  return right;
}

// Ten accesses to each block, 10 ms apart, and a move takes 75 ms: of the block a move was started
// for when it was reached, it serves those at 80 and 90 ms; of the one behind it, all ten.
TEST(Streams, LearnWhatAMoveAheadBrings) {
  internal::Streams s(Row(60), 75);
  Stream(60, 10, 10, [&](std::uint32_t b, double minute) {
    s.Access(b, minute);
    EXPECT_EQ(s.Length(b), static_cast<int>(b));
  });
  // 43 of the visits continue streams of 17 blocks or more; v of them count, and one more, empty.
  const double v = (1 - std::pow(0.995, 43)) / 0.005;
  EXPECT_NEAR(s.Expected(0, 20), 2 * v / (v + 1), 1e-9);
  EXPECT_NEAR(s.Expected(1, 20), 10 * (v - 1) / 0.995 / (v + 1), 1e-9);
  EXPECT_GT(s.Expected(8, 20), 7);
  EXPECT_TRUE(s.Passed(40, 0.001, 10.0 * 600 / 60'000));
  EXPECT_FALSE(s.Passed(59, 5.9 / 60, 6.0 / 60));
  EXPECT_TRUE(s.Passed(59, 5.9 / 60, 8.0 / 60));  // nothing for a second: it has ended
  s.Access(20, 9.0 / 60);
  EXPECT_TRUE(s.Began());
  EXPECT_EQ(s.Length(20), 0);
}

TEST(Simulate, AStreamIsReadAheadWhereThatPays) {
  const auto run = [](bool ahead, std::uint32_t capacity, int each, double step_ms, int* hits) {
    internal::Stats stats(200);
    internal::Streams streams(Row(200), 70);
    internal::TierRule rule{.name = "window", .streams = ahead};
    internal::Tier tier(rule, capacity, 1, stats, {}, &streams);
    for (std::uint32_t b = 0; b < capacity; ++b) {  // warm blocks, to be pushed out
      for (int i = 0; i < 30; ++i) stats.Access(199 - b, i * 0.01);
    }
    tier.Rebalance(1);
    const auto before = tier.moves();
    *hits = 0;
    Stream(150, each, step_ms, [&](std::uint32_t b, double minute) {
      stats.Access(b, 2 + minute);
      streams.Access(b, 2 + minute);
      *hits += tier.Access(b, 2 + minute) < 1 ? 1 : 0;
    });
    return tier.moves() - before;
  };
  int hits = 0;
  EXPECT_EQ(run(false, 20, 40, 1, &hits), 0u);
  EXPECT_EQ(hits, 0);
  // 40 ms a block: the link, which takes 20, keeps up, and two blocks ahead are early enough.
  const auto moves = run(true, 20, 40, 1, &hits);
  EXPECT_GT(hits, 150 * 40 * 8 / 10);
  EXPECT_LE(moves, 150u);
  // Two accesses to a block are not worth a move (2.53), and 40 within 4 ms outrun the link.
  EXPECT_EQ(run(true, 20, 2, 20, &hits), 0u);
  run(true, 20, 40, 0.1, &hits);
  EXPECT_LT(hits, 150 * 40 / 2);
  // A tier of two has no room to look ahead.
  EXPECT_LE(run(true, 2, 40, 1, &hits), 150u);
}

// Accesses without any order: EWMA is the best there is, and looking for better costs little.
TEST(Simulate, LosesLittleWhereNothingIsToBeGained) {
  std::mt19937 rng(5);
  std::vector<std::uint32_t> s;
  for (int i = 0; i < 20000; ++i) s.push_back(rng() % 500 * 2);
  const WindowedTrace t = Of(s, 100'000);
  const auto end = static_cast<std::uint32_t>(t.windows.size());
  std::map<double, double> pam, ewma;
  for (const SimResult& r : SimulateAll(t, end / 2, end, {}, {})) {
    if (r.policy == "pam") pam[r.tier] = r.net_ms;
    if (r.policy == "ewma_4h") ewma[r.tier] = r.net_ms;
  }
  EXPECT_EQ(pam.size(), 4u);
  EXPECT_EQ(pam[0.01], ewma[0.01]);
  EXPECT_EQ(pam[0.05], ewma[0.05]);
  for (const auto& [tier, net] : pam) EXPECT_LE(net, 1.01 * ewma[tier]) << tier;
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
