// SPDX-License-Identifier: Apache-2.0
// The model against docs/dm-shadow.rst: what the daemon's tests stand on.
#include <gtest/gtest.h>

#include "daemon/dm/status.h"
#include "daemon/sim/sim_world.h"

namespace shadow::sim {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr const char* kOneLeg = "/dev/m 128 1 origin /dev/a 3 leg_id origin A";
constexpr const char* kTwoLegs =
    "/dev/m 128 2 origin /dev/a target /dev/b 6 leg_id origin A leg_id target B";
constexpr std::uint64_t kSectors = std::uint64_t{16} * 128;

class SimTest : public testing::Test {
 protected:
  void SetUp() override {
    w.AddDisk("/dev/m", kMiB);
    w.AddDisk("/dev/a", 2 * kMiB);
    w.AddDisk("/dev/b", 2 * kMiB);
    ASSERT_TRUE(w.dm().Create("v", "SHADOW-1", kSectors, kOneLeg).ok());
  }
  Status Swap(std::uint64_t sectors, const char* params) {
    SHADOW_TRY(w.dm().Load("v", sectors, params));
    return w.dm().Resume("v");
  }
  TargetStatus status() { return *ParseStatus(w.dm().StatusOf("v")->params); }
  bool Say(const std::string& text) { return w.dm().Message("v", text).ok(); }
  void CopyAll() {
    ASSERT_TRUE(Say("copy 0+16"));
    w.Advance(1000);
  }
  SimWorld w;
};

TEST_F(SimTest, AMoveKeepsEveryWrite) {
  for (std::uint64_t b = 0; b < 16; ++b) ASSERT_TRUE(w.target("v").Write(b, 100 + b));
  ASSERT_TRUE(Swap(kSectors, kTwoLegs).ok());
  EXPECT_EQ(status().kernel.phase, "migrating");
  EXPECT_FALSE(Say("cutover")) << "nothing is copied yet";
  CopyAll();
  EXPECT_EQ(status().kernel.mirrored, 16U);
  ASSERT_TRUE(Say("retire 3+2"));
  EXPECT_EQ(status().kernel.target, 2U);
  ASSERT_TRUE(w.target("v").Write(3, 7));
  ASSERT_TRUE(Say("cutover"));
  EXPECT_FALSE(Say("rollback")) << "blocks 3 and 4 are only on the target";
  ASSERT_TRUE(Say("commit"));
  EXPECT_EQ(*w.target("v").Read(3), 7U) << "before the one-leg table is live";
  ASSERT_TRUE(Swap(kSectors, "/dev/m 128 1 origin /dev/b 3 leg_id origin B").ok());
  EXPECT_EQ(*w.target("v").Read(3), 7U);
  EXPECT_EQ(*w.target("v").Read(9), 109U);
}

TEST_F(SimTest, AbortNeedsEveryBlockOnTheOrigin) {
  ASSERT_TRUE(Swap(kSectors, kTwoLegs).ok());
  CopyAll();
  ASSERT_TRUE(Say("retire 0+16"));
  ASSERT_TRUE(w.target("v").Write(5, 55));
  EXPECT_FALSE(Say("abort"));
  ASSERT_TRUE(Say("remirror 0+16"));
  w.Advance(1000);
  ASSERT_TRUE(Say("abort"));
  ASSERT_TRUE(Swap(kSectors, kOneLeg).ok());
  EXPECT_EQ(*w.target("v").Read(5), 55U);
}

TEST_F(SimTest, TheGrownTailIsHolesAndItsDataForbidsAbort) {
  ASSERT_TRUE(Swap(kSectors + 256, kTwoLegs).ok());
  EXPECT_EQ(status().kernel.hole, 2U);
  EXPECT_EQ(*w.target("v").Read(17), 0U);
  ASSERT_TRUE(w.target("v").Write(17, 1));
  EXPECT_EQ(status().kernel.tail, 1U);
  EXPECT_FALSE(Say("abort"));
  w.target("v").DiscardBlock(17);
  EXPECT_TRUE(Say("abort"));
  EXPECT_TRUE(Swap(kSectors, kOneLeg).ok());
}

TEST_F(SimTest, AbortOfAShrinkBringsTheEndBack) {
  for (std::uint64_t b = 0; b < 16; ++b) ASSERT_TRUE(w.target("v").Write(b, 100 + b));
  EXPECT_FALSE(Swap(kSectors / 2, kTwoLegs).ok()) << "without shrink";
  ASSERT_TRUE(Swap(kSectors, kOneLeg).ok());
  const std::string shrink =
      "/dev/m 128 2 origin /dev/a target /dev/b 7 leg_id origin A leg_id target B shrink";
  ASSERT_TRUE(Swap(kSectors / 2, shrink.c_str()).ok());
  EXPECT_EQ(status().kernel.blocks, 8U);
  ASSERT_TRUE(Say("abort"));
  ASSERT_TRUE(Swap(kSectors, kOneLeg).ok());
  EXPECT_EQ(*w.target("v").Read(15), 115U);
}

TEST_F(SimTest, WrongTablesAreRefused) {
  EXPECT_FALSE(Swap(kSectors, "/dev/m 128 1 origin /dev/b 3 leg_id origin B").ok());
  EXPECT_TRUE(w.dm().Info("v")->suspended) << "a refused resume leaves the device suspended";
  ASSERT_TRUE(Swap(kSectors, kTwoLegs).ok());
  EXPECT_FALSE(Swap(kSectors, kOneLeg).ok()) << "while migrating";
  EXPECT_FALSE(w.dm().Load("v", kSectors, "/dev/m 128 1 origin /dev/m 0").ok());
  EXPECT_FALSE(w.dm().Load("v", kSectors * 4, kTwoLegs).ok()) << "target too small";
}

TEST_F(SimTest, RateLimitsTheMover) {
  ASSERT_TRUE(Swap(kSectors, kTwoLegs).ok());
  ASSERT_TRUE(Say("limit rate 64"));  // one block a second
  ASSERT_TRUE(Say("copy 0+16"));
  w.Advance(3000);
  EXPECT_LE(status().kernel.mirrored, 3U);
  ASSERT_TRUE(Say("pause"));
  w.Advance(60'000);
  EXPECT_LE(status().kernel.mirrored, 3U);
}

class SimTiersTest : public SimTest {
 protected:
  void SetUp() override {
    SimTest::SetUp();
    w.AddDisk("/dev/t1", 4 * 65536);
    w.AddDisk("/dev/t2", 8 * 65536);
    for (std::uint64_t b = 0; b < 16; ++b) ASSERT_TRUE(w.target("v").Write(b, 100 + b));
    ASSERT_TRUE(Swap(kSectors, kTiered).ok());
  }
  void Do(const std::string& message) {
    ASSERT_TRUE(Say(message)) << message;
    w.Advance(1000);
  }
  std::vector<TierRun> runs() { return ParseTiers(*w.dm().Message("v", "tiers"))->runs; }
  static constexpr const char* kTiered =
      "/dev/m 128 3 origin /dev/a tier1 /dev/t1 tier2 /dev/t2 "
      "11 leg_id origin A leg_id tier1 T1 leg_id tier2 T2 writeback tier2";
  static constexpr const char* kTier1Missing =
      "/dev/m 128 3 origin /dev/a tier1 - tier2 /dev/t2 "
      "11 leg_id origin A leg_id tier1 T1 leg_id tier2 T2 writeback tier2";
};

TEST_F(SimTiersTest, ShadowsServeAndFollowWrites) {
  EXPECT_EQ(status().kernel.tiers[0]->slots, 4U);
  Do("promote tier1 2+2");
  Do("promote tier2 8");
  EXPECT_EQ(runs(), (std::vector<TierRun>{{{2, 2}, TierLevel::kTier1, ShadowState::kClean},
                                          {{8, 1}, TierLevel::kTier2, ShadowState::kClean}}));
  ASSERT_TRUE(w.target("v").Write(2, 7));  // write-through
  ASSERT_TRUE(w.target("v").Write(8, 8));  // write-back
  EXPECT_EQ(*w.target("v").Read(2), 7U);
  EXPECT_EQ(*w.target("v").Read(8), 8U);
  EXPECT_EQ(w.disks.at("/dev/a").content[2], 7U);
  EXPECT_EQ(w.disks.at("/dev/a").content[8], 108U);
  EXPECT_EQ(status().kernel.tiers[1]->dirty, 1U);
  EXPECT_EQ(status().kernel.tier_reads[0], 1U);
  Do("writeback 0+16");
  EXPECT_EQ(w.disks.at("/dev/a").content[8], 8U);
  EXPECT_EQ(status().kernel.tiers[1]->used, 1U);
  Do("demote 0+16");
  EXPECT_TRUE(runs().empty());
  EXPECT_EQ(*w.target("v").Read(8), 8U);
}

TEST_F(SimTiersTest, SlotsAreFinite) {
  Do("promote tier1 0+16");
  EXPECT_EQ(status().kernel.tiers[0]->used, 4U);
  Do("promote tier2 0+2");
  EXPECT_EQ(status().kernel.tiers[1]->used, 0U) << "they have a shadow on tier1";
}

TEST_F(SimTiersTest, TiersComeAndGoEmpty) {
  Do("promote tier1 1");
  EXPECT_FALSE(Swap(kSectors, kOneLeg).ok()) << "tier1 has a shadow";
  ASSERT_TRUE(Swap(kSectors, kTiered).ok());
  Do("demote 1");
  EXPECT_TRUE(Swap(kSectors, kOneLeg).ok());
  EXPECT_FALSE(status().kernel.tiers[0]);
  EXPECT_FALSE(Say("promote tier1 1"));
  EXPECT_FALSE(Swap(kSectors, kTier1Missing).ok()) << "what is not known cannot be missing";
}

TEST_F(SimTiersTest, AMissingTierKeepsItsDirtyShadows) {
  Do("mode tier1 writeback");
  Do("promote tier1 1+2");
  ASSERT_TRUE(w.target("v").Write(1, 55));
  ASSERT_TRUE(Swap(kSectors, kTier1Missing).ok());
  EXPECT_EQ(status().kernel.tiers[0]->health, "missing");
  EXPECT_EQ(runs(), (std::vector<TierRun>{{{1, 1}, TierLevel::kTier1, ShadowState::kDirty}}));
  EXPECT_FALSE(w.target("v").Read(1).has_value());
  EXPECT_EQ(*w.target("v").Read(2), 102U);
  EXPECT_FALSE(Say("forget tier1")) << "its newest data would be lost";
  ASSERT_TRUE(Swap(kSectors, kTiered).ok());
  EXPECT_EQ(*w.target("v").Read(1), 55U);
  ASSERT_TRUE(Swap(kSectors, kTier1Missing).ok());
  ASSERT_TRUE(Say("forget tier1 lost"));
  EXPECT_EQ(*w.target("v").Read(1), 101U);
}

TEST_F(SimTiersTest, AFailingTierLosesItsCleanShadowsOnly) {
  Do("promote tier1 1");
  Do("promote tier2 2+2");
  ASSERT_TRUE(w.target("v").Write(2, 22));
  w.disks.at("/dev/t1").fail_reads = w.disks.at("/dev/t2").fail_reads = true;
  EXPECT_EQ(*w.target("v").Read(1), 101U);
  EXPECT_FALSE(w.target("v").Read(2).has_value());
  EXPECT_EQ(*w.target("v").Read(3), 103U);
  EXPECT_EQ(status().kernel.tiers[0]->health, "failed");
  EXPECT_GE(status().kernel.tier_failures, 3U);
  Do("demote 2");
  EXPECT_EQ(status().kernel.tiers[1]->dirty, 1U) << "it cannot be written back";
}

TEST_F(SimTiersTest, AMoveKeepsShadows) {
  Do("promote tier2 4");
  ASSERT_TRUE(w.target("v").Write(4, 44));
  ASSERT_TRUE(Swap(kSectors,
                   "/dev/m 128 4 origin /dev/a target /dev/b tier1 /dev/t1 tier2 /dev/t2 14 leg_id "
                   "origin A leg_id target B leg_id tier1 T1 leg_id tier2 T2 writeback tier2")
                  .ok());
  CopyAll();
  ASSERT_TRUE(Say("cutover"));
  ASSERT_TRUE(Say("commit"));
  ASSERT_TRUE(Swap(kSectors,
                   "/dev/m 128 3 origin /dev/b tier1 /dev/t1 tier2 /dev/t2 11 leg_id origin B "
                   "leg_id tier1 T1 leg_id tier2 T2 writeback tier2")
                  .ok());
  EXPECT_EQ(*w.target("v").Read(4), 44U);
  Do("demote 4");
  EXPECT_EQ(w.disks.at("/dev/b").content[4], 44U);
}

TEST_F(SimTiersTest, NoShrinkOverShadows) {
  Do("promote tier1 12");
  const std::string shrink =
      "/dev/m 128 3 origin /dev/a tier1 /dev/t1 tier2 /dev/t2 12 leg_id origin A leg_id tier1 T1 "
      "leg_id tier2 T2 shrink writeback tier2";
  EXPECT_FALSE(Swap(kSectors / 2, shrink.c_str()).ok());
  ASSERT_TRUE(Swap(kSectors, kTiered).ok());
  Do("demote 12");
  EXPECT_TRUE(Swap(kSectors / 2, shrink.c_str()).ok());
}

}  // namespace
}  // namespace shadow::sim
