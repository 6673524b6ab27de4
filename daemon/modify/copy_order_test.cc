// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/copy_order.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>

namespace shadow {
namespace {

class FixedWarm final : public HeatSource {
 public:
  std::vector<WarmBlock> warm;
  std::uint64_t version = 1;
  [[nodiscard]] std::vector<WarmBlock> Warm() const override { return warm; }
  [[nodiscard]] std::uint64_t Version() const override { return version; }
  [[nodiscard]] bool Watching() const override { return true; }
};

TEST(HeatOrder, WithoutHeatItIsAscending) {
  const std::vector<BlockRange> todo = {{0, 4}, {8, 8}};
  EXPECT_EQ(HeatOrder(nullptr).Order(todo), todo);
  EXPECT_EQ(HeatOrder(std::make_shared<FixedWarm>()).Order(todo), todo);
}

TEST(HeatOrder, HomeThenTier2ThenTier1ByRisingWrites) {
  auto source = std::make_shared<FixedWarm>();
  source->warm = {{1, 1, 1, 0},   {2, 2, .5F, 50},  {3, 2, .5F, 0}, {4, 3, .1F, 9},
                  {5, 3, .1F, 9}, {6, 3, 1, 0.01F}, {9, 1, 1, 5}};
  HeatOrder order(source);
  EXPECT_EQ(order.Order({{0, 8}, {9, 1}}),
            (std::vector<BlockRange>{{0, 1}, {6, 2}, {4, 2}, {3, 1}, {2, 1}, {1, 1}, {9, 1}}));
}

TEST(HeatOrder, ChangesWhenTheHeatDoes) {
  auto source = std::make_shared<FixedWarm>();
  source->warm = {{0, 3, 1, 100}};
  HeatOrder order(source);
  EXPECT_TRUE(order.Changed());
  EXPECT_EQ(order.Order({{0, 3}}), (std::vector<BlockRange>{{1, 2}, {0, 1}}));
  EXPECT_FALSE(order.Changed());
  source->warm = {{2, 3, 1, 100}};
  source->version = 2;
  EXPECT_TRUE(order.Changed());
  EXPECT_EQ(order.Order({{0, 3}}), (std::vector<BlockRange>{{0, 3}}));
}

TEST(MakeCopyOrder, OrdersToCompareWith) {
  auto source = std::make_shared<FixedWarm>();
  source->warm = {{1, 1, 1, 0}, {2, 3, 1, 9}};
  const std::vector<BlockRange> todo = {{0, 5}};
  const auto blocks = [&](const char* name) {
    std::vector<std::uint64_t> all;
    for (const BlockRange& r : MakeCopyOrder(name, source)->Order(todo)) {
      for (std::uint64_t i = 0; i < r.count; ++i) all.push_back(r.first + i);
    }
    return all;
  };
  EXPECT_EQ(blocks("heat"), (std::vector<std::uint64_t>{0, 3, 4, 2, 1}));
  EXPECT_EQ(blocks("ascending"), (std::vector<std::uint64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(blocks("hottest"), (std::vector<std::uint64_t>{1, 2, 3, 4, 0}));
  std::vector<std::uint64_t> random = blocks("random");
  EXPECT_EQ(random, blocks("random"));  // the same in every run
  std::sort(random.begin(), random.end());
  EXPECT_EQ(random, blocks("ascending"));
  EXPECT_EQ(MakeCopyOrder("coldest", source), nullptr);
}

TEST(HeatOrder, EveryBlockComesBackOnce) {
  EXPECT_TRUE(rc::check([] {
    const auto bits = *rc::gen::container<std::vector<bool>>(64, rc::gen::arbitrary<bool>());
    std::vector<BlockRange> todo;
    for (std::uint64_t b = 0; b < bits.size(); ++b) {
      if (!bits[b]) continue;
      if (!todo.empty() && todo.back().first + todo.back().count == b) {
        ++todo.back().count;
      } else {
        todo.push_back({b, 1});
      }
    }
    auto source = std::make_shared<FixedWarm>();
    for (std::uint32_t b = 0; b < 70; ++b) {
      if (!*rc::gen::arbitrary<bool>()) continue;
      source->warm.push_back({b, *rc::gen::inRange<std::uint8_t>(0, 5), 0.5F,
                              static_cast<float>(*rc::gen::inRange(-1, 5000)) / 10});
    }
    std::vector<std::uint64_t> want, got;
    for (const auto& r : todo)
      for (std::uint64_t i = 0; i < r.count; ++i) want.push_back(r.first + i);
    for (const auto& r : HeatOrder(source).Order(todo))
      for (std::uint64_t i = 0; i < r.count; ++i) got.push_back(r.first + i);
    std::sort(got.begin(), got.end());
    RC_ASSERT(got == want);
  }));
}

}  // namespace
}  // namespace shadow
