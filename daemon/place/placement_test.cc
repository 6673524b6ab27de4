// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/placement.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace shadow {
namespace {

constexpr std::uint64_t kSize = 256 << 10;

class PlacementTest : public testing::Test {
 protected:
  PlacementTest() {
    settings_.policy = "ewma";
    settings_.reactive_worth = 1;
    world_.home = {8, 8, 128, 128};
    world_.tier1 = {4, 0, true, true, {0.1, 0.1, 512, 512}};
    world_.tier2 = {8, 0, true, true, {1, 1, 512, 512}};
  }
  std::unique_ptr<Placement> Make() {
    auto made = Placement::Make(settings_, 1000, kSize, {}, clock_);
    EXPECT_TRUE(made.ok());
    return std::move(*made);
  }
  AccessWindow Part(std::vector<BlockAccess> blocks, int parts = 12) {
    AccessWindow w;
    w.length_us = settings_.window_us * parts / 12;
    w.blocks = std::move(blocks);
    w.bytes = 1 << 20;
    clock_.AdvanceMs(w.length_us / 1000);
    return w;
  }
  PlacementSettings settings_;
  TierWorld world_;
  ManualClock clock_;
};

TEST_F(PlacementTest, AHotBlockIsPromotedAndExplained) {
  const auto p = Make();
  TierPlan plan;
  for (int w = 0; w < 5; ++w) {
    p->AddPart(Part({{3, 20, 0}, {2000, 1, 0}}));  // the second is beyond the volume
    plan = p->Round(world_);
  }
  ASSERT_EQ(plan.moves.size(), 1U);
  EXPECT_EQ(plan.moves[0].block, 3U);
  EXPECT_EQ(p->Explain(3).decision, "promote");
  EXPECT_EQ(p->Explain(4).decision, "stay");
  EXPECT_EQ(p->GetStatus().policy.ruling, "ewma");
  EXPECT_EQ(p->GetStatus().policy.known_blocks, 1U);
}

TEST_F(PlacementTest, ABlockTouchedHardDoesNotWaitForTheWindow) {
  const auto p = Make();
  p->AddPart(Part({{3, 40, 0}, {4, 1, 0}}, 1));
  const TierPlan plan = p->React(world_);
  ASSERT_EQ(plan.moves.size(), 1U);
  EXPECT_EQ(plan.moves[0].block, 3U);
  EXPECT_TRUE(p->React(world_).moves.empty());  // nothing was touched since
}

TEST_F(PlacementTest, TheBudgetIsUsedUpAndEarnedAgain) {
  settings_.budget_per_minute = 2 * kSize;
  const auto p = Make();
  std::vector<BlockAccess> hot;
  for (std::uint32_t b = 0; b < 10; ++b) hot.push_back({b, 50, 0});
  p->AddPart(Part(hot));
  EXPECT_EQ(p->Round(world_).moves.size(), 2U);
  EXPECT_TRUE(p->GetStatus().plan.budget_exhausted);
  EXPECT_NE(p->GetStatus().note, "");
  p->AddPart(Part({}, 6));  // half a minute
  EXPECT_EQ(p->Round(world_).moves.size(), 1U);
}

TEST_F(PlacementTest, MovesAreEarnedByBytesServed) {
  settings_.free_bytes = kSize;
  settings_.served_share = 0.25;  // 1 MiB served: one block
  const auto p = Make();
  std::vector<BlockAccess> hot;
  for (std::uint32_t b = 0; b < 10; ++b) hot.push_back({b, 50, 0});
  p->AddPart(Part(hot));
  EXPECT_EQ(p->Round(world_).moves.size(), 2U);
  EXPECT_TRUE(p->GetStatus().plan.budget_exhausted);
}

TEST_F(PlacementTest, OffMovesNothingButWhatIsDirty) {
  settings_.policy = "off";
  const auto p = Make();
  p->AddPart(Part({{3, 50, 0}}));
  EXPECT_TRUE(p->React(world_).moves.empty());
  EXPECT_TRUE(p->Round(world_).moves.empty());
  world_.shadows = {{3, Place::kTier1, true}};
  world_.tier1.used = 1;
  EXPECT_EQ(p->Round(world_).state.writebacks, 1U);
}

TEST_F(PlacementTest, PolicyCanBeChangedAndMustExist) {
  const auto p = Make();
  settings_.policy = "clairvoyant";
  EXPECT_FALSE(p->Configure(settings_, 1000).ok());
  settings_.policy = "lru";
  EXPECT_FALSE(p->Configure(settings_, 0).ok());
  EXPECT_TRUE(p->Configure(settings_, 2000).ok());
  EXPECT_EQ(p->GetStatus().policy.asked, "lru");
  settings_.window_us = 0;
  EXPECT_FALSE(Placement::Make(settings_, 1000, kSize, {}, clock_).ok());
}

TEST_F(PlacementTest, WarmKnowsTiersAndWrites) {
  const auto p = Make();
  EXPECT_TRUE(p->Warm().empty());
  const std::uint64_t version = p->Version();
  for (int w = 0; w < 60; ++w) {
    p->AddPart(Part({{3, 20, 20}, {7, 1, 0}}));
    world_.shadows = {{7, Place::kTier2}};
    world_.tier2.used = 1;
    (void)p->Round(world_);
  }
  const auto warm = p->Warm();
  ASSERT_EQ(warm.size(), 2U);
  EXPECT_EQ(warm[0].block, 3U);
  EXPECT_EQ(warm[0].tier, 3);
  EXPECT_GT(warm[0].writes, 100);
  EXPECT_EQ(warm[1].tier, 2);
  EXPECT_NE(p->Version(), version);
}

}  // namespace
}  // namespace shadow
