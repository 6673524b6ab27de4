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

}  // namespace
}  // namespace shadow::sim
