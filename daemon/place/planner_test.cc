// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/planner.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "daemon/place/cost.h"

namespace shadow {
namespace {

constexpr std::uint64_t kBlock = 256 << 10;

/// Home 8 ms and 128 MiB/s; tier 1 0.1 ms, tier 2 1 ms, both 512 MiB/s.
struct Scene {
  std::vector<BlockHeat> ranking;
  std::vector<Shadow> shadows;
  PlanInput in;
  PlanSettings settings;
  Scene() {
    in.block_bytes = kBlock;
    in.home = {8, 8, 128, 128};
    in.tier1 = {4, 0, false, true, {0.1, 0.1, 512, 512}};
    in.tier2 = {8, 0, false, true, {1, 1, 512, 512}};
    in.budget = 1ULL << 40;
  }
  TierPlan Plan() {
    Fix();
    return PlanMoves(in, settings);
  }
  Explanation Explain(const TierPlan& plan, std::uint32_t block) {
    Fix();
    return ExplainBlock(in, settings, plan, block);
  }
  void Fix() {
    std::sort(shadows.begin(), shadows.end(),
              [](const Shadow& a, const Shadow& b) { return a.block < b.block; });
    in.ranking = ranking;
    in.shadows = shadows;
    in.tier1.used = in.tier2.used = 0;
    for (const Shadow& s : shadows) ++(s.tier == Place::kTier1 ? in.tier1 : in.tier2).used;
  }
  /// What the kernel would have afterwards.
  void Apply(const TierPlan& plan) {
    for (const Move& m : plan.moves) {
      const auto at = std::find_if(shadows.begin(), shadows.end(),
                                   [&](const Shadow& s) { return s.block == m.block; });
      if (m.kind == MoveKind::kPromote) shadows.push_back({m.block, m.tier});
      if (m.kind == MoveKind::kDemote) shadows.erase(at);
      if (m.kind == MoveKind::kWriteback) at->dirty = false;
    }
  }
};

TEST(Planner, ReserveStaysFreeForWhatReadsFetch) {
  Scene s;
  s.in.tier2.reserve = 2;
  for (std::uint32_t b = 0; b < 12; ++b) s.ranking.push_back({b, 0.5F, 100.0F + b, 0});
  s.Apply(s.Plan());
  const auto on_tier2 = [&] {
    return std::count_if(s.shadows.begin(), s.shadows.end(),
                         [](const Shadow& x) { return x.tier == Place::kTier2; });
  };
  EXPECT_EQ(on_tier2(), 6);
}

TEST(Planner, ReserveIsMadeOfTheLeastValuedCleanShadowsAndCharged) {
  Scene s;
  s.in.tier1.slots = 0;
  s.in.tier2.reserve = 3;
  for (std::uint32_t b = 0; b < 8; ++b) {
    s.ranking.push_back({b, 0.5F, 10.0F * static_cast<float>(b + 1), 0});
    s.shadows.push_back({b, Place::kTier2, b == 0});  // the coldest is dirty
  }
  TierPlan plan = s.Plan();
  std::vector<std::uint32_t> out;
  for (const Move& m : plan.moves) {
    if (m.kind == MoveKind::kDemote) out.push_back(m.block);
  }
  EXPECT_EQ(out, (std::vector<std::uint32_t>{1, 2, 3}));
  EXPECT_EQ(plan.state.bytes, 3 * kBlock);
  s.in.budget = 2 * kBlock;
  plan = s.Plan();
  EXPECT_EQ(plan.state.demotes, 2U);
  EXPECT_TRUE(plan.state.budget_exhausted);
}

TEST(Cost, FiguresByHand) {
  Scene s;
  s.in.tier1.write_back = true;
  s.in.foreground_iops = 100;
  s.in.foreground_ms = 2;
  const place::Costs costs(s.in, s.settings);
  // 6 reads and 4 writes, each 7.9 ms less on tier 1.
  EXPECT_NEAR(costs.Saved({1, 1, 10, 4}, Place::kTier1), 79, 1e-5);
  // Tier 2 is write-through: a write waits for home as before.
  EXPECT_NEAR(costs.Saved({1, 1, 10, 4}, Place::kTier2), 42, 1e-5);
  // 8 ms + 0.1 ms + 0.25 MiB at 128 MiB/s (1.953 ms); 100/s meanwhile wait 2 ms longer; 0.25 MiB
  // of wear at 1 ms/MiB; it is written, so it has to go home (0.1 + 8 + 1.953 ms, likewise).
  const place::Cost read = costs.Promote({1, 1, 10, 0}, Place::kHome, false, Place::kTier1);
  EXPECT_NEAR(read.transfer, 10.053, 1e-3);
  EXPECT_NEAR(read.interference, 2.011, 1e-3);
  EXPECT_NEAR(read.wear, 0.25, 1e-9);
  EXPECT_EQ(read.writeback, 0);
  const place::Cost write = costs.Promote({1, 1, 10, 4}, Place::kHome, false, Place::kTier1);
  EXPECT_NEAR(write.writeback, (10.053 + 2.011) * (1 - 0.0183), 1e-2);
  // A limit of 10 MiB/s makes the 0.25 MiB take 25 ms.
  s.in.rate = 10 << 20;
  EXPECT_NEAR(costs.Promote({1, 1, 10, 0}, Place::kHome, false, Place::kTier1).transfer, 33.1,
              1e-3);
}

TEST(Planner, HotSetGoesUpByRankAndThresholds) {
  Scene s;
  for (std::uint32_t b = 0; b < 6; ++b) s.ranking.push_back({b, 0.9F, 100.0F - b, 0});
  for (std::uint32_t b = 6; b < 20; ++b) s.ranking.push_back({b, 0.5F, 50.0F - b, 0});
  s.ranking.push_back({30, 0.1F, 0.5F, 0});
  const TierPlan plan = s.Plan();
  std::map<std::uint32_t, Place> where;
  for (const Move& m : plan.moves) where[m.block] = m.tier;
  EXPECT_EQ(where.size(), 12U);
  for (std::uint32_t b = 0; b < 4; ++b) EXPECT_EQ(where[b], Place::kTier1) << b;
  for (std::uint32_t b = 4; b < 12; ++b) EXPECT_EQ(where[b], Place::kTier2) << b;
  EXPECT_TRUE(plan.state.tier1_full);
  EXPECT_EQ(plan.state.promotes, 12U);
  const Explanation full = s.Explain(plan, 15);
  EXPECT_EQ(full.decision, "stay");
  EXPECT_NE(full.why.find("full"), std::string::npos) << full.why;
  EXPECT_NE(s.Explain(plan, 30).why.find("Not worth"), std::string::npos);
  EXPECT_EQ(s.Explain(plan, 0).decision, "promote");
  EXPECT_EQ(s.Explain(plan, 0).belongs, Place::kTier1);
  EXPECT_EQ(s.Explain(plan, 7).belongs, Place::kTier2);
}

TEST(Planner, TiesNeverMoveAnything) {
  Scene s;
  for (std::uint32_t b = 0; b < 100; ++b) s.ranking.push_back({b, 0.9F, 50, 10});
  s.Apply(s.Plan());
  EXPECT_EQ(s.shadows.size(), 12U);
  std::reverse(s.ranking.begin(), s.ranking.end());
  EXPECT_TRUE(s.Plan().moves.empty());
}

TEST(Planner, NoiseDoesNotChurn) {
  Scene s;
  std::mt19937 rng(5);
  std::uint64_t moves = 0;
  for (int round = 0; round < 50; ++round) {
    s.ranking.clear();
    for (std::uint32_t b = 0; b < 40; ++b) {
      const float noise = 0.9F + 0.2F * static_cast<float>(rng() % 1000) / 1000;  // +-10 %
      s.ranking.push_back({b, 0.9F, 60 * noise, 0});
    }
    const TierPlan plan = s.Plan();
    if (round > 0) moves += plan.moves.size();
    s.Apply(plan);
  }
  EXPECT_EQ(moves, 0U);
}

TEST(Planner, AShiftedHotSetReplacesTheOldOne) {
  Scene s;
  s.in.tier2.slots = 0;
  for (std::uint32_t b = 0; b < 4; ++b) s.ranking.push_back({b, 0.9F, 80, 0});
  s.Apply(s.Plan());
  s.ranking.clear();
  for (std::uint32_t b = 0; b < 4; ++b) s.ranking.push_back({b, 0.2F, 3, 0});
  for (std::uint32_t b = 10; b < 14; ++b) s.ranking.push_back({b, 0.9F, 80, 0});
  const TierPlan plan = s.Plan();
  EXPECT_EQ(plan.state.demotes, 4U);
  EXPECT_EQ(plan.state.promotes, 4U);
  EXPECT_EQ(plan.moves.front().kind, MoveKind::kDemote);
  EXPECT_EQ(plan.moves.back().kind, MoveKind::kPromote);
  EXPECT_EQ(s.Explain(plan, 0).decision, "demote");
}

TEST(Planner, ASwapOfADirtyShadowPaysForItsWayHome) {
  Scene s;
  s.in.tier1.slots = 1;
  s.in.tier2.slots = 0;
  s.in.tier1.write_back = true;
  s.shadows = {{0, Place::kTier1, true}};
  s.ranking = {{1, 0.9F, 80, 0}};
  const TierPlan plan = s.Plan();
  ASSERT_EQ(plan.moves.size(), 2U);
  EXPECT_TRUE(plan.moves[0].was_dirty);
  EXPECT_EQ(plan.state.bytes, 2 * kBlock);
  s.in.budget = 2 * kBlock - 1;  // not enough for both: it goes home, and the swap waits
  const TierPlan poor = s.Plan();
  EXPECT_TRUE(poor.state.budget_exhausted);
  ASSERT_EQ(poor.moves.size(), 1U);
  EXPECT_EQ(poor.moves[0].kind, MoveKind::kWriteback);
}

TEST(Planner, WritesHomeWhatIsDueOrCold) {
  Scene s;
  s.in.tier1.write_back = true;
  s.settings.writeback_windows = 30;
  s.shadows = {{0, Place::kTier1, true, false, 30},
               {1, Place::kTier1, true, false, 29},
               {2, Place::kTier1, true, false, 0},
               {3, Place::kTier1, true, true, 99}};
  s.ranking = {{0, 0.9F, 80, 40}, {1, 0.9F, 80, 40}};
  s.in.may_promote = false;
  const TierPlan plan = s.Plan();
  ASSERT_EQ(plan.moves.size(), 2U);
  EXPECT_EQ(plan.moves[0].block, 0U);  // due
  EXPECT_EQ(plan.moves[1].block, 2U);  // cold
}

TEST(Planner, AFailedTierGetsNothing) {
  Scene s;
  s.in.tier1.usable = false;
  s.in.tier2.slots = 0;
  s.ranking = {{1, 0.9F, 80, 0}};
  const TierPlan plan = s.Plan();
  EXPECT_TRUE(plan.moves.empty());
  EXPECT_NE(s.Explain(plan, 1).why.find("failed"), std::string::npos);
}

TEST(Planner, AShadowMovesUpByWayOfHome) {
  Scene s;
  s.shadows = {{1, Place::kTier2}};
  s.ranking = {{1, 0.9F, 500, 0}};
  const TierPlan first = s.Plan();
  ASSERT_EQ(first.moves.size(), 1U);
  EXPECT_EQ(first.moves[0].kind, MoveKind::kDemote);
  s.Apply(first);
  const TierPlan second = s.Plan();
  ASSERT_EQ(second.moves.size(), 1U);
  EXPECT_EQ(second.moves[0].tier, Place::kTier1);
}

TEST(Planner, NonsenseMakesNoMoves) {
  Scene s;
  s.ranking = {{1, NAN, NAN, NAN}, {2, 0.9F, -5, 3}, {3, 5, 1e30F, 0}};
  s.in.block_bytes = 0;
  EXPECT_TRUE(s.Plan().moves.empty());
  s.in.block_bytes = kBlock;
  s.in.tier1 = s.in.tier2 = {};
  EXPECT_TRUE(s.Plan().moves.empty());
}

TEST(Planner, NeverBeyondCapacityOrBudgetAndEachBlockOnce) {
  EXPECT_TRUE(rc::check([] {
    Scene s;
    const auto range = [](int to) { return *rc::gen::inRange(0, to); };
    s.in.tier1.slots = static_cast<std::uint64_t>(range(6));
    s.in.tier2.slots = static_cast<std::uint64_t>(range(10));
    s.in.tier1.write_back = range(2) == 1;
    s.in.tier2.write_back = range(2) == 1;
    s.in.tier2.usable = range(5) != 0;
    s.in.budget = static_cast<std::uint64_t>(range(12)) * kBlock + static_cast<unsigned>(range(9));
    std::uint64_t used[3] = {};
    for (std::uint32_t b = 0; b < 30; ++b) {
      if (range(3) != 0) {
        const auto n = static_cast<float>(range(200));
        s.ranking.push_back(
            {b, static_cast<float>(range(100)) / 100, n, n * static_cast<float>(range(3)) / 2});
      }
      const int t = range(4);
      const std::uint64_t slots = t == 1 ? s.in.tier1.slots : s.in.tier2.slots;
      if ((t == 1 || t == 2) && used[t] < slots) {
        ++used[t];
        s.shadows.push_back({b, static_cast<Place>(t), range(2) == 1, range(4) == 0,
                             static_cast<std::uint32_t>(range(60))});
      }
    }
    const TierPlan plan = s.Plan();
    std::set<std::uint32_t> moved;
    std::uint64_t bytes = 0;
    std::uint64_t now[3] = {0, used[1], used[2]};
    bool promoting = false;
    for (const Move& m : plan.moves) {
      RC_ASSERT(moved.insert(m.block).second);
      const auto at = std::find_if(s.shadows.begin(), s.shadows.end(),
                                   [&](const Shadow& x) { return x.block == m.block; });
      bytes += m.bytes;
      if (m.kind == MoveKind::kPromote) {
        promoting = true;
        RC_ASSERT(at == s.shadows.end());
        RC_ASSERT(m.bytes == kBlock);
        ++now[static_cast<int>(m.tier)];
        continue;
      }
      RC_ASSERT(!promoting);
      RC_ASSERT(at != s.shadows.end());
      RC_ASSERT(!at->busy);
      if (m.kind == MoveKind::kWriteback) RC_ASSERT(at->dirty);
      if (m.kind == MoveKind::kDemote) {
        RC_ASSERT(m.was_dirty == at->dirty);
        RC_ASSERT(m.bytes == (at->dirty ? kBlock : 0));
        --now[static_cast<int>(at->tier)];
      }
    }
    RC_ASSERT(now[1] <= s.in.tier1.slots);
    RC_ASSERT(now[2] <= s.in.tier2.slots);
    RC_ASSERT(bytes <= s.in.budget);
    RC_ASSERT(bytes == plan.state.bytes);
    // An explanation says of every block what the plan does with it.
    for (std::uint32_t b = 0; b < 30; ++b) {
      const Explanation e = s.Explain(plan, b);
      RC_ASSERT(!e.why.empty());
      RC_ASSERT(moved.contains(b) == (e.decision != "stay" && e.decision != "wait"));
    }
  }));
}

}  // namespace
}  // namespace shadow
