// SPDX-License-Identifier: Apache-2.0
// What pages and scrapes read: they change nothing for anybody else.
#include <rapidcheck.h>

#include "daemon/engine/testing.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

struct Counted {
  Counted() {
    EXPECT_TRUE(m.engine().CreateVolume(SmallVolume()).ok());
    m.world.latency.ios = 100;
    m.world.latency.p50_us = 300;
    m.world.latency.p99_us = 2000;
  }
  std::uint64_t Ios() {
    const auto t = m.engine().ReadCounters("db0");
    EXPECT_TRUE(t.ok()) << t.error().ToString();
    return t.ok() ? t->reads + t->writes : 0;
  }
  Machine m;
};

TEST(Counters, GrowAndAreTheSameForEveryReader) {
  Counted c;
  EXPECT_EQ(c.Ios(), 0U);
  c.m.world.Advance(1000);
  EXPECT_EQ(c.Ios(), 1000U);
  EXPECT_EQ(c.Ios(), 1000U);
  (void)c.m.engine().Top("");
  (void)c.m.engine().Top("");
  EXPECT_EQ(c.Ios(), 1000U);
  c.m.world.Advance(100);
  EXPECT_EQ(c.Ios(), 1100U);
}

TEST(Counters, DoNotGoBackWhenTheVolumeGrows) {
  Counted c;
  (void)c.Ios();
  c.m.world.Advance(1000);
  EXPECT_EQ(c.Ios(), 1000U);
  ModifyRequest grow;
  grow.volume = "db0";
  grow.size_bytes = 512 * kTestBlock;
  grow.grace_ms = 0;
  ASSERT_TRUE(c.m.engine().Modify(grow).ok());
  for (int i = 0; i < 1000 && c.m.engine().Step() > 0; ++i) {
  }
  EXPECT_GE(c.Ios(), 1000U);
  const std::uint64_t before = c.Ios();
  c.m.world.Advance(1000);
  EXPECT_EQ(c.Ios(), before + 1000);
}

TEST(Counters, GoOnWhereTheyWereAfterARestart) {
  Counted c;
  (void)c.Ios();
  c.m.world.Advance(1000);
  c.m.Boot();
  EXPECT_EQ(c.Ios(), 1000U);
}

TEST(Counters, TakeNoAccessBits) {
  Counted c;
  ASSERT_TRUE(c.m.world.target("db0").Write(3, 7));
  ASSERT_TRUE(c.m.engine().ReadCounters("db0").ok());
  ASSERT_TRUE(c.m.engine().ListVolumes().ok());
  ASSERT_TRUE(c.m.engine().ListTiers("db0").ok());
  ASSERT_TRUE(c.m.engine().GetBlockMap("db0", {0, 256}, 16).ok());
  const auto access = c.m.world.dm().Message("db0", "access");
  ASSERT_TRUE(access.ok());
  EXPECT_EQ(*access, "3+1:w end");
}

TEST(Counters, OfAVolumeThatIsNotThereAreAnError) {
  Counted c;
  EXPECT_EQ(c.m.engine().ReadCounters("none").error().code, Code::kNotFound);
}

// Every block is in exactly one cell, and where the map says. The simulated kernel answers 50 runs
// at a time, so a map of many runs takes many messages.
TEST(BlockMap, AddsUpToTheKernelsMap) {
  rc::check([] {
    Counted c;
    const auto written =
        *rc::gen::container<std::vector<std::uint64_t>>(rc::gen::inRange<std::uint64_t>(0, 256));
    for (const std::uint64_t block : written) c.m.world.target("db0").Write(block, 1);
    const auto cells = *rc::gen::inRange<std::uint32_t>(1, 300);
    const auto first = *rc::gen::inRange<std::uint64_t>(0, 256);
    const auto count = *rc::gen::inRange<std::uint64_t>(1, 257 - first);
    const auto map = c.m.engine().GetBlockMap("db0", {first, count}, cells);
    RC_ASSERT(map.ok());
    const auto runs = ReadMap(c.m.world.dm(), "db0");
    RC_ASSERT(runs.ok());
    std::uint64_t at = first;
    for (const MapCell& cell : *map) {
      RC_ASSERT(cell.range.first == at);
      at += cell.range.count;
      MapCell wanted{cell.range, {}};
      for (const StateRun& run : *runs) {
        const std::uint64_t from = std::max(run.range.first, cell.range.first);
        const std::uint64_t to =
            std::min(run.range.first + run.range.count, cell.range.first + cell.range.count);
        if (from < to) wanted.blocks.at(static_cast<std::size_t>(run.state)) += to - from;
      }
      RC_ASSERT(cell.blocks == wanted.blocks);
    }
    RC_ASSERT(at == first + count);
  });
}

TEST(BlockMap, OfAMillionRunsCostsFewMessages) {
  Machine m;
  CreateRequest r = SmallVolume();
  r.size_bytes = 4096 * kTestBlock;
  ASSERT_TRUE(m.engine().CreateVolume(r).ok());
  for (std::uint64_t b = 0; b < 4096; b += 2) m.world.target("db0").Write(b, 1);
  const auto map = m.engine().GetBlockMap("db0", {0, 4096}, 4);
  ASSERT_TRUE(map.ok());
  for (const MapCell& cell : *map) {
    EXPECT_EQ(cell.range.count, 1024U);
    std::uint64_t sum = 0;
    for (const std::uint64_t n : cell.blocks) sum += n;
    EXPECT_EQ(sum, 1024U);
    EXPECT_EQ(cell.blocks.at(static_cast<std::size_t>(BlockState::kOrigin)), 512U);
  }
}

TEST(BlockMap, RefusesWhatIsNotThere) {
  Counted c;
  EXPECT_EQ(c.m.engine().GetBlockMap("db0", {0, 257}, 4).error().code, Code::kInvalidArgument);
  EXPECT_EQ(c.m.engine().GetBlockMap("db0", {256, 1}, 4).error().code, Code::kInvalidArgument);
  EXPECT_EQ(c.m.engine().GetBlockMap("db0", {0, ~0ULL}, 4).error().code, Code::kInvalidArgument);
  EXPECT_EQ(c.m.engine().GetBlockMap("db0", {0, 256}, 0).error().code, Code::kInvalidArgument);
  EXPECT_EQ(c.m.engine().GetBlockMap("db0", {0, 256}, 5000).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace shadow
