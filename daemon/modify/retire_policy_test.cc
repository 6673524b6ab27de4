// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/retire_policy.h"

#include <gtest/gtest.h>

namespace shadow {
namespace {

const std::vector<StateRun> kMap = {{{0, 4}, BlockState::kMirrored},
                                    {{4, 2}, BlockState::kOrigin},
                                    {{6, 2}, BlockState::kMirrored}};

TEST(RetirePolicy, NeverAndEager) {
  EXPECT_TRUE(RetirePolicy(Retire::kNever, 8).Choose(kMap).empty());
  EXPECT_EQ(RetirePolicy(Retire::kEager, 8).Choose(kMap),
            (std::vector<BlockRange>{{0, 4}, {6, 2}}));
}

TEST(RetirePolicy, ColdWaitsForIdleWindows) {
  RetirePolicy p(Retire::kCold, 8);
  for (int i = 0; i < RetirePolicy::kColdWindows - 1; ++i) p.OnWindowEnd();
  EXPECT_TRUE(p.Choose(kMap).empty());
  p.OnAccess({{{1, 1}, true, false}});
  p.OnWindowEnd();
  EXPECT_EQ(p.Choose(kMap), (std::vector<BlockRange>{{0, 1}, {2, 2}, {6, 2}}));
  for (int i = 0; i < RetirePolicy::kColdWindows; ++i) p.OnWindowEnd();
  EXPECT_EQ(CountBlocks(p.Choose(kMap)), 6U);
}

class FixedHeat final : public HeatSource {
 public:
  std::vector<WarmBlock> warm;
  [[nodiscard]] std::vector<WarmBlock> Warm() const override { return warm; }
  [[nodiscard]] std::uint64_t Version() const override { return 0; }
  bool watching = true;
  [[nodiscard]] bool Watching() const override { return watching; }
};

TEST(RetirePolicy, ColdWaitsForTheHeatToo) {
  auto heat = std::make_shared<FixedHeat>();
  heat->warm = {{1, 3, 0.5F, 0}, {2, 3, 0.29F, 9}, {1000, 1, 1, 1}};
  RetirePolicy p(Retire::kCold, 8, heat);
  for (int i = 0; i < RetirePolicy::kColdWindows; ++i) p.OnWindowEnd();
  EXPECT_EQ(p.Choose(kMap), (std::vector<BlockRange>{{0, 1}, {2, 2}, {6, 2}}));
  heat->warm[0].heat = 0;
  for (int i = 0; i < RetirePolicy::kColdWindows - 1; ++i) p.OnWindowEnd();
  EXPECT_EQ(CountBlocks(p.Choose(kMap)), 5U);
  p.OnWindowEnd();
  EXPECT_EQ(CountBlocks(p.Choose(kMap)), 6U);
}

TEST(RetirePolicy, ColdBelievesOnlyWhoWatches) {
  auto heat = std::make_shared<FixedHeat>();
  RetirePolicy p(Retire::kCold, 8, heat);
  EXPECT_FALSE(p.WantsAccess());
  for (int i = 0; i < RetirePolicy::kColdWindows - 1; ++i) p.OnWindowEnd();
  heat->watching = false;
  p.OnWindowEnd();
  heat->watching = true;
  EXPECT_TRUE(p.Choose(kMap).empty());
  heat->warm = {{1, 3, 0, 0, 59.0F}, {2, 3, 0, 0, 61.0F}};
  for (int i = 0; i < RetirePolicy::kColdWindows; ++i) p.OnWindowEnd();
  EXPECT_EQ(p.Choose(kMap), (std::vector<BlockRange>{{0, 1}, {2, 2}, {6, 2}}));
}

TEST(RetirePolicy, RangesBeyondTheEndAreHarmless) {
  RetirePolicy p(Retire::kCold, 4);
  p.OnAccess({{{2, 1000}, true, true}, {{1ULL << 60, 5}, true, true}});
  EXPECT_TRUE(p.Choose(kMap).empty());
}

}  // namespace
}  // namespace shadow
