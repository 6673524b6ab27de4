// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/status.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

constexpr const char* kLine =
    "rw migrating 1024 512 origin=1000 copying=4 mirrored=10 retiring=0 target=2 remirroring=0 "
    "hole=8 filling=0 tail=3 old_sectors=262144 queue=5 inflight=256 copied=12 recopied=1 filled=0 "
    "copy_errors=2 last_error=read:origin:17 mirrored_writes=99 failovers=0 stale=0 "
    "dirty_regions=1 rate=4096 inflight_limit=1024 paused=1 read=target commits=7 generation=9 "
    "needs_check=1 mem=2048 something_new=x";

TEST(ParseStatus, ReadsEveryField) {
  auto s = ParseStatus(kLine);
  ASSERT_TRUE(s.ok());
  EXPECT_EQ(s->kernel.mode, "rw");
  EXPECT_EQ(s->kernel.phase, "migrating");
  EXPECT_EQ(s->kernel.blocks, 1024U);
  EXPECT_EQ(s->kernel.block_bytes, 262144U);
  EXPECT_EQ(s->kernel.origin, 1000U);
  EXPECT_EQ(s->kernel.tail, 3U);
  EXPECT_EQ(s->kernel.last_error, "read:origin:17");
  EXPECT_EQ(s->kernel.mirrored_writes, 99U);
  EXPECT_EQ(s->old_sectors, 262144U);
  EXPECT_EQ(s->inflight_limit_kib, 1024U);
  EXPECT_TRUE(s->paused);
  EXPECT_TRUE(s->kernel.needs_check);
  EXPECT_EQ(s->NotOnTarget(), 1004U);
  EXPECT_FALSE(s->MoverIdle());
}

TEST(ParseStatus, RefusesTheRest) {
  for (const char* bad :
       {"", "rw", "rw steady 1", "xx steady 1 512", "rw what 1 512", "rw steady -1 512",
        "rw steady 1 0", "rw steady 1 512 origin=", "rw steady 1 512 origin=x",
        "rw steady 1 512 origin", "rw steady 1 512 paused=2",
        "rw steady 1 512 origin=99999999999999999999999"}) {
    auto s = ParseStatus(bad);
    ASSERT_FALSE(s.ok()) << bad;
    EXPECT_EQ(s.error().code, Code::kDataLoss);
  }
}

TEST(ParseStatus, Tiers) {
  auto s = ParseStatus(
      "rw steady 1024 512 tier1=ok:writeback:100:40:7 tier2=missing:writethrough:200:3:3 "
      "tier1_reads=11 tier1_writes=12 tier2_reads=13 tier2_writes=14 promoted=15 demoted=16 "
      "written_back=17 tier_failures=18 tier_queue=19 tier_inflight=256 tier_rate=4096 "
      "tier_inflight_limit=2048");
  ASSERT_TRUE(s.ok()) << s.error().ToString();
  const KernelStatus& k = s->kernel;
  ASSERT_TRUE(k.tiers[0] && k.tiers[1]);
  EXPECT_TRUE(k.tiers[0]->write_back && !k.tiers[1]->write_back);
  EXPECT_EQ(k.tiers[0]->health, "ok");
  EXPECT_EQ(k.tiers[1]->health, "missing");
  EXPECT_EQ(k.tiers[0]->slots, 100U);
  EXPECT_EQ(k.tiers[0]->used, 40U);
  EXPECT_EQ(k.tiers[0]->dirty, 7U);
  EXPECT_EQ(k.tier_reads, (std::array<std::uint64_t, 2>{11, 13}));
  EXPECT_EQ(k.tier_writes, (std::array<std::uint64_t, 2>{12, 14}));
  EXPECT_EQ(k.promoted, 15U);
  EXPECT_EQ(k.demoted, 16U);
  EXPECT_EQ(k.written_back, 17U);
  EXPECT_EQ(k.tier_failures, 18U);
  EXPECT_EQ(s->tier_rate_kib, 4096U);
  EXPECT_EQ(s->tier_inflight_limit_kib, 2048U);
  EXPECT_FALSE(TiersIdle(*s));
  EXPECT_FALSE(ParseStatus("rw steady 1 512")->kernel.tiers[0]);
  for (const char* bad :
       {"tier1=", "tier1=ok", "tier1=ok:writeback:1:0", "tier1=good:writeback:1:0:0",
        "tier1=ok:wb:1:0:0", "tier1=ok:writeback:1:2:0", "tier1=ok:writeback:3:1:2",
        "tier1=ok:writeback:3:1:0:0", "tier1=ok:writeback:-1:0:0", "tier1_reads=x"}) {
    EXPECT_FALSE(ParseStatus(std::string("rw steady 1 512 ") + bad).ok()) << bad;
  }
}

TEST(ParseTiers, RunsAndTheRest) {
  auto t = ParseTiers("0+3:tier1-clean 3+1:tier2-dirty 9+2:tier1-promoting next=11");
  ASSERT_TRUE(t.ok());
  ASSERT_EQ(t->runs.size(), 3U);
  EXPECT_EQ(t->runs[1], (TierRun{{3, 1}, TierLevel::kTier2, ShadowState::kDirty}));
  EXPECT_EQ(*t->next, 11U);
  for (const char* bad :
       {"", "0+1:tier1-clean", "0+1:clean end", "0+1:tier3-clean end", "0+1:tier1-hot end",
        "0+1:tier1 end", "2+2:tier1-clean 3+1:tier1-clean end"}) {
    EXPECT_FALSE(ParseTiers(bad).ok()) << bad;
  }
}

TEST(ParseMap, RunsAndWhereToGoOn) {
  auto m = ParseMap("0+3:origin 3+1:copying 10+2:hole next=12");
  ASSERT_TRUE(m.ok());
  ASSERT_EQ(m->runs.size(), 3U);
  EXPECT_EQ(m->runs[2].range, (BlockRange{10, 2}));
  EXPECT_EQ(m->runs[2].state, BlockState::kHole);
  EXPECT_EQ(*m->next, 12U);
  EXPECT_FALSE(ParseMap("end")->next.has_value());
}

TEST(ParseMap, RefusesTheRest) {
  for (const char* bad : {"", "0+3:origin", "0+3:wat end", "0+0:hole end", "3:hole end",
                          "5+1:hole 2+1:hole end", "0+3:origin next=2", "next=0",
                          "next=", "end end", "end 0+1:hole", "18446744073709551615+2:hole end"}) {
    EXPECT_FALSE(ParseMap(bad).ok()) << bad;
  }
}

TEST(ParseAccess, ReadsAndWrites) {
  auto a = ParseAccess("0+2:r 5+1:rw 9+1:w end");
  ASSERT_TRUE(a.ok());
  EXPECT_TRUE(a->runs[0].read && !a->runs[0].written);
  EXPECT_TRUE(a->runs[1].read && a->runs[1].written);
  EXPECT_TRUE(!a->runs[2].read && a->runs[2].written);
  EXPECT_FALSE(ParseAccess("0+2:x end").ok());
}

RC_GTEST_PROP(Parsers, NoTextCrashesThem, (const std::string& text)) {
  (void)ParseStatus(text);
  (void)ParseStatus("rw steady 1 512 " + text);
  (void)ParseMap(text);
  (void)ParseMap("0+1:hole " + text + " end");
  (void)ParseAccess(text);
  (void)ParseTiers("0+1:tier1-clean " + text + " end");
  (void)ParseStatus("rw steady 1 512 tier1=" + text);
}

TEST(RangeMessages, SplitsLongLists) {
  std::vector<BlockRange> ranges = {{1, 1}, {5, 3}, {9, 0}, {20, 1}};
  EXPECT_EQ(RangeMessages("copy", ranges), (std::vector<std::string>{"copy 1 5+3 20"}));
  EXPECT_EQ(RangeMessages("copy", ranges, 2), (std::vector<std::string>{"copy 1 5+3", "copy 20"}));
  EXPECT_TRUE(RangeMessages("copy", {}).empty());
}

}  // namespace
}  // namespace shadow
